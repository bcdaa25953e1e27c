"""Several processes as one run: the flags that say which, and how they begin, agree and end."""

import collections
import contextlib
import functools
import hashlib
import json
import os
import socket
import sys
import time
import traceback

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tireid_jax.errors import UserError

# A process of which nothing was heard for so long is given up, and all others end: within a minute, JAX's own is 100 s.
HEARTBEAT_TIMEOUT_S = 40

# How long the processes wait for each other, when they begin and when they end. All end together, or one has failed.
START_TIMEOUT_S = 300
END_TIMEOUT_S = 30

# Statuses with which all processes end together: well, by bad input that all were given, or by Ctrl-C or SIGTERM.
_COMMON_ENDS = (None, 0, 2, 130, 143)

_EXPLICIT = ("coordinator", "num_processes", "process_id")
_BY_HAND = "--coordinator=HOST:PORT --num_processes=N --process_id=I"


def define_flags():
  """Defines the flags of a command that may run as several processes."""
  flags.DEFINE_bool("multihost", False, "one of several processes, as the TPU pod, SLURM or Open MPI tells")
  flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where nothing else tells of the processes")
  flags.DEFINE_integer("num_processes", None, "how many processes there are")
  flags.DEFINE_integer("process_id", None, "which of them this is, from 0")


def initialize(options):
  """Joins the processes that the flags tell of, before JAX touches a device; without any, this one stays alone.

  Args:
    options: has the flags of `define_flags`.

  Raises:
    ValueError: for flags that are no such group, or if --multihost finds none.
  """
  given = {name: getattr(options, name) for name in _EXPLICIT}
  missing = [name for name, value in given.items() if value in (None, "")]
  if 0 < len(missing) < len(given):
    raise UserError(f"give all of {_BY_HAND} or none; --{missing[0]} is missing")
  if missing and not options.multihost:
    check_backend()
    return
  join = functools.partial(
    jax.distributed.initialize,
    initialization_timeout=START_TIMEOUT_S,
    heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
    shutdown_timeout_seconds=END_TIMEOUT_S,
  )
  if not missing:
    _check_group(**given)
  # SIGTERM is for hooks.StopRequest to hear.
  jax.config.update("jax_enable_preemption_service", False)
  if missing:
    try:
      join()
    except ValueError as error:
      raise UserError(
        f"--multihost finds no TPU pod, SLURM step or Open MPI job that this process belongs to ({error}); tell of the "
        f"processes by {_BY_HAND}"
      ) from error
  else:
    join(given["coordinator"], given["num_processes"], given["process_id"], cluster_detection_method="deactivate")
  _keep_standard_output()
  check_device_counts(jax.devices())
  if not is_first():
    logging.set_verbosity(logging.ERROR)


def check_backend():
  """Raises UserError where JAX_PLATFORMS names a kind of device that this machine does not have."""
  try:
    jax.default_backend()
  except (RuntimeError, AssertionError) as error:  # the latter where jaxlib has no such backend at all
    asked = jax.config.values["jax_platforms"]
    if not asked:
      raise
    reason = " ".join(str(error).split())[:160] or "this jaxlib has no such backend"
    raise UserError(
      f"JAX_PLATFORMS={asked} asks for devices that JAX does not find here ({reason}); for NVIDIA GPUs check "
      f"nvidia-smi and pip install 'jax[cuda12]', or set JAX_PLATFORMS=cpu"
    ) from error


def check_device_counts(devices):
  """Raises ValueError unless every process has equally many devices, as JAX's own collectives between them assume."""
  counts = collections.Counter(device.process_index for device in devices)
  if len(set(counts.values())) > 1:
    found = ", ".join(f"{count} in process {process}" for process, count in sorted(counts.items()))
    raise UserError(
      f"the processes have different numbers of devices: {found}; start each with the same number "
      f"(CUDA_VISIBLE_DEVICES hides GPUs from a process)"
    )


def _check_group(coordinator, num_processes, process_id):
  """Raises ValueError for a group that there cannot be, or whose coordinator cannot be had; JAX would abort."""
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdigit() or not 0 < int(port) < 2**16:
    raise UserError(f"--coordinator={coordinator} must be HOST:PORT, as 10.0.0.1:8476")
  if num_processes < 1 or not 0 <= process_id < num_processes:
    raise UserError(
      f"--process_id={process_id} of --num_processes={num_processes}: ids go from 0 to one less than the processes"
    )
  if process_id == 0:
    try:
      socket.create_server(("", int(port))).close()
    except OSError as error:
      raise UserError(f"--coordinator={coordinator}: process 0 cannot listen there ({error.strerror})") from error
    print(f"waiting at {coordinator} for {num_processes} processes, at most {START_TIMEOUT_S} s", file=sys.stderr)
  else:
    _wait_for_coordinator(host.strip("[]"), int(port))


def _wait_for_coordinator(host, port):
  deadline = time.monotonic() + START_TIMEOUT_S
  while True:
    try:
      socket.create_connection((host, port), timeout=10).close()
      return
    except OSError as error:
      if time.monotonic() > deadline:
        raise UserError(
          f"--coordinator={host}:{port} does not answer ({error}); is process 0 running there, and the port open?"
        ) from error
    time.sleep(0.5)


def _keep_standard_output():
  """Leaves standard output to Python's own writing; gloo tells there of each of its connections."""
  if jax.default_backend() == "cpu":
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def is_first():
  """Whether this is process 0, which alone writes and tells."""
  return jax.process_index() == 0


def run_on_all(action):
  """Returns action(), done in every process; where it was refused in one it fails in all, so that none waits for it.

  Raises:
    OSError, ValueError: that the action raised, or ValueError if it did in another process.
  """
  refused = result = None
  try:
    result = action()
  except (OSError, ValueError) as error:
    refused = error
  others = np.flatnonzero(multihost_utils.process_allgather(np.array(refused is not None)))
  if refused is not None:
    raise refused
  if len(others):
    raise UserError(f"process {others[0]} was refused; what it says tells why")
  return result


def run_on_first(action):
  """Does action() in process 0 alone, and returns when it is done there; what is refused there fails in all."""
  run_on_all(lambda: action() if is_first() else None)


def broadcast_from_first(action):
  """Returns the JSON data that action() returns in process 0, where alone it is done, in every process."""
  data = run_on_all(lambda: action() if is_first() else None)
  if jax.process_count() == 1:
    return data
  text = json.dumps(data).encode() if is_first() else b""
  size = int(multihost_utils.broadcast_one_to_all(np.array(len(text), np.int32)))
  padded = np.frombuffer(text.ljust(size, b" "), np.uint8)[:size]
  return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def check_same(data, complaint):
  """Raises ValueError in every process if this JSON data is not the same in all of them."""
  digest = np.frombuffer(hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest(), np.uint8)
  if (multihost_utils.process_allgather(digest) != digest).any():
    raise UserError(complaint)


@functools.cache
def _one_on_each_device():
  """Returns (sharding of an array with an element on each device, compiled whether any of it is true)."""
  mesh = Mesh(np.array(jax.devices()), ("device",))
  where = NamedSharding(mesh, PartitionSpec("device"))
  return where, jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))


def in_any_process(claim):
  """Returns bool[], not waited for: whether `claim` holds in any process. All of them must ask."""
  if jax.process_count() == 1:
    return claim
  where, any_of = _one_on_each_device()
  mine = np.full(jax.local_device_count(), claim)
  return any_of(jax.make_array_from_process_local_data(where, mine, (jax.device_count(),)))


@contextlib.contextmanager
def exiting_on_failure():
  """Ends a process that fails alone at once, for at a usual end it would wait for others, which wait for it."""
  try:
    yield
  except BaseException as error:
    status = error.code if isinstance(error, SystemExit) else 1
    assert status is None or isinstance(status, int)
    if not jax.distributed.is_initialized() or status in _COMMON_ENDS:
      raise
    if not isinstance(error, SystemExit):
      traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
