"""The process that holds a lock, identified reliably although process ids, host names and clocks are ambiguous."""

import dataclasses
import datetime
import functools
import json
import os
import pathlib
import secrets
import signal
import socket

# Fixed size of a record, so that each write fully replaces the previous one.
RECORD_BYTES = 512

# Bits in /proc/PID/stat: of the process flags, and of the pending signals.
_PF_EXITING = 0x4
_SIGKILL_PENDING = 1 << (signal.SIGKILL - 1)

_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = pathlib.Path("/proc/self/ns/pid")


@dataclasses.dataclass(frozen=True)
class Holder:
  """A process that holds a lock.

  Attributes:
    host: name of its host, for messages.
    pid: its process id.
    since: when it took the lock, by its host's clock, for messages.
    machine: identifies the boot of the kernel and the namespace of process ids.
    started: clock ticks from boot to the start of the process, which distinguishes a reused process id.
    token: random, unique to this lock.
  """

  host: str
  pid: int
  since: str
  machine: str
  started: int
  token: str

  def record(self, num_refreshed: int) -> bytes:
    """Returns the bytes to store after `num_refreshed` refreshes."""
    text = json.dumps({**dataclasses.asdict(self), "refreshed": num_refreshed})
    return text.encode().ljust(RECORD_BYTES - 1) + b"\n"

  def is_near(self) -> bool:
    """Returns whether its process id is valid in this process, as `is_gone` requires."""
    return self.machine == _machine()

  def is_gone(self) -> bool:
    """Returns whether the process has exited, or is exiting as after SIGKILL; requires `is_near`."""
    try:
      os.kill(self.pid, 0)
    except ProcessLookupError:
      return True
    except OSError:  # another user's
      pass
    is_ending, started = _state(self.pid)
    return is_ending or started not in (self.started, None)

  def __str__(self) -> str:
    return f"process {self.pid} on {self.host} since {self.since}"


def this_process() -> Holder:
  """Returns a new Holder for this process."""
  pid = os.getpid()
  since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
  return Holder(socket.gethostname(), pid, since, _machine(), _state(pid)[1] or 0, secrets.token_hex(8))


def read(record: bytes) -> Holder | None:
  """Returns the Holder of a stored record; None if it is empty or damaged."""
  try:
    fields = json.loads(record)
    return Holder(**{field.name: fields[field.name] for field in dataclasses.fields(Holder)})
  except (ValueError, KeyError, TypeError):
    return None


@functools.cache
def _machine():
  # Containers share the kernel of their host, but not its process ids; hosts may share a name.
  try:
    return f"{_BOOT_ID.read_text().strip()} {os.readlink(_PID_NAMESPACE)}"
  except OSError:  # no Linux
    return socket.gethostname()


def _state(pid):
  """Returns (whether a process is exiting or gone, clock ticks from boot to its start); (False, None) if unknown."""
  try:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False, None
  # Its second field, the program's name in parentheses, may hold anything.
  fields = text.rpartition(")")[2].split()
  # A killed process keeps the state of a running one until its memory is freed, which may take seconds.
  is_ending = fields[0] in ("Z", "X") or int(fields[6]) & _PF_EXITING or int(fields[28]) & _SIGKILL_PENDING
  return bool(is_ending), int(fields[19])
