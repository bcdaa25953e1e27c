"""Estimates the memory, time and communication of a training step by compiling it for devices that need not exist."""

import os

# Set before jax is first imported. jax must not look for accelerators, since none is used, and libtpu must not query
# the metadata server of a cloud VM. Nothing runs on a TPU, so several processes may load libtpu at the same time.
os.environ.update(
  JAX_PLATFORMS="cpu",
  TPU_SKIP_MDS_QUERY="1",
  TPU_ACCELERATOR_TYPE="v5litepod-4",
  TPU_WORKER_HOSTNAMES="localhost",
  ALLOW_MULTIPLE_LIBTPU_LOAD="1",
)
