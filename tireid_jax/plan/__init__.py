"""What a stage's training step takes and how long it would run, found by compiling it for devices that are not here."""

import os

# Before jax is first imported: it shall not look for accelerators, of which none is used, nor libtpu for the cloud
# machine that it does not run on. Nothing is run on a TPU, so other processes may load libtpu at the same time.
os.environ.update(
  JAX_PLATFORMS="cpu",
  TPU_SKIP_MDS_QUERY="1",
  TPU_ACCELERATOR_TYPE="v5litepod-4",
  TPU_WORKER_HOSTNAMES="localhost",
  ALLOW_MULTIPLE_LIBTPU_LOAD="1",
)
