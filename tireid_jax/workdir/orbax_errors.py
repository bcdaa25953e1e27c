"""Turns errors of Orbax and tensorstore, for a full disk or a damaged checkpoint, into one line.

Orbax saves in threads, several layers of which log an error with its traceback; the same error is raised again by the
call that waits for the save.
"""

import contextlib
import errno
import logging as python_logging
import re
import sys
from collections.abc import Iterator
from typing import Any

from absl import logging

from tireid_jax.errors import UserError, disk_error
from tireid_jax.storage.locations import Path

# Errors from reading a missing, truncated or overwritten file: of the file system, of JSON and UTF-8, of tensorstore
# (ValueError with its own text, NotImplementedError), and of Orbax if a key or file that it relies on is missing, a
# timestamp in its metadata is invalid, or its lists nest too deep.
DAMAGE = (
  OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, NotImplementedError, RecursionError,
)  # fmt: skip

# Of these, errors of access to the files, not of their content: the next attempt may read the same checkpoint.
_ACCESS_ERRORS = frozenset(
  getattr(errno, name)
  for name in (
    "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "EIO", "ESTALE", "EAGAIN", "EBUSY", "EINTR", "ENOLCK", "ETIMEDOUT",
    "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "ENOTCONN", "EPIPE", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
    "ENETRESET", "ENETUNREACH",
  )
)  # fmt: skip

# What to do about a damaged checkpoint; completes "is damaged: ...; ".
REMEDY = "put back a copy of it, or remove that folder to use the next best"

# How tensorstore formats errno.
_ERRNO = re.compile(r"os_error_code='(\d+)'")


class _Quiet:
  """Keeps Orbax and tensorstore from logging errors that they also raise."""

  def __init__(self):
    self.is_reading = False
    self._hook: Any = None

  def install(self):
    """Installs the filters; further calls have no effect."""
    logging.get_absl_logger().addFilter(self._is_news)
    python_logging.getLogger("asyncio").addFilter(self._is_not_of_a_save)
    if self._hook is None:
      self._hook, sys.unraisablehook = sys.unraisablehook, self._show

  def _is_news(self, record):
    # While a checkpoint is read, also drop what Orbax logs about damaged files.
    return "/orbax/" not in record.pathname or not (record.exc_info or self.is_reading)

  @staticmethod
  def _is_not_of_a_save(record):
    # Orbax awaits the writes of a save only up to the first that fails.
    error = record.exc_info and record.exc_info[1]
    return not (error and ("/orbax/" in record.getMessage() or _errno(error)))

  def _show(self, unraisable):
    # After one write has failed, Orbax closes the event loop to which tensorstore reports the others.
    if str(unraisable.exc_value) != "Event loop is closed":
      self._hook(unraisable)


_quiet = _Quiet()


@contextlib.contextmanager
def saving(folder: Path) -> Iterator[None]:
  """Turns errors of a save or a deletion into DiskError if the file system caused them."""
  _quiet.install()
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    number = _errno(error)
    named = number and disk_error(OSError(number, ""), folder)
    if not named:
      raise
    raise named from error


@contextlib.contextmanager
def restoring(folder: Path, remedy: str = REMEDY) -> Iterator[None]:
  """Turns errors of reading a checkpoint into UserError, unless the file system caused them and may recover.

  Args:
    folder: of the checkpoint.
    remedy: what to do about a damaged checkpoint, for the message.
  """
  _quiet.install()
  before, _quiet.is_reading = _quiet.is_reading, True
  try:
    yield
  except UserError:
    raise
  except DAMAGE as error:
    if is_damage(error):
      raise UserError(f"the checkpoint {folder} is damaged: {summary(error)}; {remedy}") from error
    named = disk_error(error if isinstance(error, OSError) else OSError(_errno(error), ""), folder)
    if not named:
      raise
    raise named from error
  finally:
    _quiet.is_reading = before


def is_damage(error: Exception) -> bool:
  """Returns whether an error of reading a checkpoint is about its content, not about access to it."""
  is_unreachable = isinstance(error, (TimeoutError, ConnectionError))  # of a bucket; has no errno
  return isinstance(error, DAMAGE) and not is_unreachable and _errno(error) not in _ACCESS_ERRORS


def summary(error: Exception) -> str:
  """Returns the start of an error's message, with its type if the message is unclear without it."""
  text = " ".join(str(error).split())
  if isinstance(error, (KeyError, TypeError, AttributeError)):
    text = f"{type(error).__name__}: {text}"
  return text if len(text) <= 200 else f"{text[:197]}..."


def _errno(error):
  """Returns the errno of an error, of its causes or of the members of a group; None if there is none."""
  waiting, seen = [error], set()
  while waiting:
    found = waiting.pop(0)
    if found is None or id(found) in seen:
      continue
    seen.add(id(found))
    if isinstance(found, OSError) and found.errno:
      return found.errno
    if number := _ERRNO.search(str(found)):
      return int(number[1])
    waiting += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]
  return None
