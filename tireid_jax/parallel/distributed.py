"""Multi-process runs: flags, initialization, agreement between processes, and exit."""

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
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tireid_jax.errors import UserError

T = TypeVar("T")

# A process without a heartbeat for this long counts as dead, and all others exit. JAX's default is 100 s.
HEARTBEAT_TIMEOUT_S = 40

# How long the processes wait for each other at startup and at shutdown. All exit together, unless one has failed.
START_TIMEOUT_S = 300
END_TIMEOUT_S = 30

# Exit statuses that all processes share: success, bad input that all were given, Ctrl-C and SIGTERM.
_COMMON_STATUSES = (None, 0, 2, 130, 143)

_EXPLICIT = ("coordinator", "num_processes", "process_id")
_EXPLICIT_FLAGS = "--coordinator=HOST:PORT --num_processes=N --process_id=I"


def define_flags() -> None:
  """Defines the flags of a command that may run as several processes."""
  flags.DEFINE_bool(
    "multihost", False, "run as one of several processes, as reported by the TPU pod, SLURM or Open MPI"
  )
  flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, if no cluster reports it")
  flags.DEFINE_integer("num_processes", None, "number of processes")
  flags.DEFINE_integer("process_id", None, "index of this process, from 0")


def initialize(options: Any) -> None:
  """Joins the processes that the flags name, before a device is used; without such flags the run is one process.

  Args:
    options: flag values, with those of `define_flags`.

  Raises:
    ValueError: the flags describe no valid group of processes, or --multihost finds none.
  """
  given = {name: getattr(options, name) for name in _EXPLICIT}
  missing = [name for name, value in given.items() if value in (None, "")]
  if 0 < len(missing) < len(given):
    raise UserError(f"give all of {_EXPLICIT_FLAGS} or none; --{missing[0]} is missing")
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
  # Otherwise JAX would handle SIGTERM, which training.stopping.StopRequest does.
  jax.config.update("jax_enable_preemption_service", False)
  if missing:
    try:
      join()
    except ValueError as error:
      raise UserError(
        f"--multihost finds no TPU pod, SLURM step or Open MPI job that this process belongs to ({error}); give "
        f"{_EXPLICIT_FLAGS}"
      ) from error
  else:
    join(given["coordinator"], given["num_processes"], given["process_id"], cluster_detection_method="deactivate")
  _silence_native_output()
  check_device_counts(jax.devices())
  if not is_first():
    logging.set_verbosity(logging.ERROR)


def check_backend() -> None:
  """Raises UserError where JAX_PLATFORMS names a platform that this machine does not have."""
  try:
    jax.default_backend()
  except (RuntimeError, AssertionError) as error:  # the latter if jaxlib has no such backend
    platforms = jax.config.values["jax_platforms"]
    if not platforms:
      raise
    reason = " ".join(str(error).split())[:160] or "this jaxlib has no such backend"
    raise UserError(
      f"JAX_PLATFORMS={platforms} requests devices that JAX does not find here ({reason}); for NVIDIA GPUs check "
      f"nvidia-smi and pip install 'jax[cuda12]', or set JAX_PLATFORMS=cpu"
    ) from error


def check_device_counts(devices: Sequence[jax.Device]) -> None:
  """Raises ValueError unless all processes have the same number of devices, as JAX's collectives assume."""
  counts = collections.Counter(device.process_index for device in devices)
  if len(set(counts.values())) > 1:
    found = ", ".join(f"{count} in process {process}" for process, count in sorted(counts.items()))
    raise UserError(
      f"the processes have different numbers of devices: {found}; start each with the same number "
      f"(CUDA_VISIBLE_DEVICES hides GPUs from a process)"
    )


def _check_group(coordinator, num_processes, process_id):
  """Raises ValueError for an impossible group or an unreachable coordinator, for which JAX would abort."""
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


def _silence_native_output():
  """Lets only Python write to standard output, where gloo logs each of its connections."""
  if jax.default_backend() == "cpu":
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def is_first() -> bool:
  """Returns whether this is process 0, the only one that writes files and logs."""
  return jax.process_index() == 0


def run_on_all(action: Callable[[], T]) -> T:
  """Returns action(), which every process runs. If it fails in one, it fails in all, which avoids a deadlock.

  Raises:
    OSError, ValueError: what the action raised; ValueError if it failed in another process only.
  """
  failure = None
  try:
    result = action()
  except (OSError, ValueError) as error:
    failure = error
  others = np.flatnonzero(multihost_utils.process_allgather(np.array(failure is not None)))
  if failure is not None:
    raise failure
  if len(others):
    raise UserError(f"process {others[0]} failed; see its error message")
  return result


def run_on_first(action: Callable[[], Any]) -> None:
  """Runs action() in process 0 alone; all processes return once it has finished, or fail if it failed."""
  run_on_all(lambda: action() if is_first() else None)


def broadcast_from_first(action: Callable[[], Any]) -> Any:
  """Runs action() in process 0 alone, and returns its result, JSON data, in every process."""
  data = run_on_all(lambda: action() if is_first() else None)
  if jax.process_count() == 1:
    return data
  text = json.dumps(data).encode() if is_first() else b""
  size = int(multihost_utils.broadcast_one_to_all(np.array(len(text), np.int32)))
  padded = np.frombuffer(text.ljust(size, b" "), np.uint8)[:size]
  return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def check_same(data: Any, message: str) -> None:
  """Raises ValueError(message) in every process if the JSON data differs between processes."""
  digest = np.frombuffer(hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest(), np.uint8)
  if (multihost_utils.process_allgather(digest) != digest).any():
    raise UserError(message)


@functools.cache
def _one_on_each_device():
  """Returns (sharding of an array with one element per device, jitted `any` of such an array)."""
  mesh = Mesh(np.array(jax.devices()), ("device",))
  where = NamedSharding(mesh, PartitionSpec("device"))
  return where, jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))


def in_any_process(claim: bool) -> bool | jax.Array:
  """Returns bool[], asynchronously: whether `claim` is true in any process. Every process must call it."""
  if jax.process_count() == 1:
    return claim
  where, any_of = _one_on_each_device()
  mine = np.full(jax.local_device_count(), claim)
  return any_of(jax.make_array_from_process_local_data(where, mine, (jax.device_count(),)))


@contextlib.contextmanager
def exiting_on_failure() -> Iterator[None]:
  """Exits at once if this process alone fails; a normal exit would wait for the others, which wait for this one."""
  try:
    yield
  except BaseException as error:
    status = error.code if isinstance(error, SystemExit) else 1
    assert status is None or isinstance(status, int)
    if not jax.distributed.is_initialized() or status in _COMMON_STATUSES:
      raise
    if not isinstance(error, SystemExit):
      traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
