"""Who holds a lock: a process, told apart from others although process ids, host names and clocks are no proof."""

import dataclasses
import datetime
import functools
import json
import os
import pathlib
import secrets
import signal
import socket

# Bytes of a record, so that each write replaces the one before as a whole.
RECORD_BYTES = 512

# Bits of what the kernel shows of a process: of its flags, and of its pending signals.
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
    machine: names the kernel, since its boot, and the process ids that it can see.
    started: clock ticks from the boot to the start of the process; a reused process id has another.
    token: random, of this one lock.
  """

  host: str
  pid: int
  since: str
  machine: str
  started: int
  token: str

  def record(self, num_refreshed):
    """Returns the bytes to store, after so many refreshes."""
    text = json.dumps({**dataclasses.asdict(self), "refreshed": num_refreshed})
    return text.encode().ljust(RECORD_BYTES - 1) + b"\n"

  def is_near(self):
    """Whether its process id means the same here, so that `is_gone` can be asked."""
    return self.machine == _machine()

  def is_gone(self):
    """Whether the process has ended, or is ending as after SIGKILL; of one that `is_near`."""
    try:
      os.kill(self.pid, 0)
    except ProcessLookupError:
      return True
    except OSError:  # another user's
      pass
    is_ending, started = _state(self.pid)
    return is_ending or started not in (self.started, None)

  def __str__(self):
    return f"process {self.pid} on {self.host} since {self.since}"


def this_process():
  """Returns a new Holder, of this process."""
  pid = os.getpid()
  since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
  return Holder(socket.gethostname(), pid, since, _machine(), _state(pid)[1] or 0, secrets.token_hex(8))


def read(record):
  """Returns the Holder of a stored record, or None if there is none or it is damaged."""
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
  """Returns (whether a process ends or has ended, clock ticks from the boot to its start), (False, None) if unknown."""
  try:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False, None
  # Its second field, the program's name in parentheses, may hold anything.
  fields = text.rpartition(")")[2].split()
  # Until a killed process has given its memory back, which may take seconds, its state is still that of a running one.
  is_ending = fields[0] in ("Z", "X") or int(fields[6]) & _PF_EXITING or int(fields[28]) & _SIGKILL_PENDING
  return bool(is_ending), int(fields[19])
