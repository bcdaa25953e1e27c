"""The slice_index that JAX assigns to the devices of a mock cluster that includes the real GPU."""

import collections
import json
import os
import subprocess
import sys

# Runs in a separate process, since JAX reads the topology when it starts.
PROGRAM = """
import json, sys, jax
jax.config.update("jax_mock_gpu_topology", sys.argv[1])
print(json.dumps([(d.id, d.process_index, getattr(d, "slice_index", None), d.platform) for d in jax.devices()]))
"""


def slices(topology, timeout_s=60):
  """Returns the number of devices of each slice_index, and their processes.

  Args:
    topology: as --jax_mock_gpu_topology: slices x hosts per slice x GPUs per host.
    timeout_s: raises subprocess.TimeoutExpired after that time.
  """
  environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # this process holds most of the memory
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, topology], env=environment, capture_output=True, text=True, timeout=timeout_s
  )
  if done.returncode:
    raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
  devices = json.loads(done.stdout.splitlines()[-1])
  by_slice = collections.Counter(str(slice_index) for _, _, slice_index, _ in devices)
  processes = {str(index): sorted({p for _, p, s, _ in devices if s == index}) for index in {d[2] for d in devices}}
  return {"num_devices": len(devices), "devices_by_slice_index": dict(by_slice), "processes_by_slice_index": processes}
