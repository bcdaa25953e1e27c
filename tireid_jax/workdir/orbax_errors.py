"""What Orbax and tensorstore raise where the disk is full or a checkpoint damaged -> one line.

Orbax saves in threads, which log what they raise with its traceback, each of several layers anew; the same error is
raised again where the save is waited for.
"""

import contextlib
import errno
import logging as python_logging
import re
import sys
from typing import Any

from absl import logging

from tireid_jax.errors import UserError, disk_error

# What reading a file that is missing, cut short or overwritten raises: of the file system, of JSON and UTF-8, of
# tensorstore (ValueError with its own text, NotImplementedError), and of Orbax where a key or a file that it relies on
# is not there, a number of its metadata is of no date, or their lists nest too deep.
DAMAGE = (
  OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, NotImplementedError, RecursionError,
)  # fmt: skip

# Of these, what tells of the way to the files alone: the same checkpoint may be read at the next attempt.
_OF_THE_WAY = frozenset(
  getattr(errno, name)
  for name in (
    "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "EIO", "ESTALE", "EAGAIN", "EBUSY", "EINTR", "ENOLCK", "ETIMEDOUT",
    "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "ENOTCONN", "EPIPE", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
    "ENETRESET", "ENETUNREACH",
  )
)  # fmt: skip

# What to do about a damaged checkpoint, to be read after "is damaged: ...; ".
REMEDY = "put back a copy of it, or remove that folder to use the next best"

# How tensorstore writes errno.
_ERRNO = re.compile(r"os_error_code='(\d+)'")


class _Quiet:
  """Keeps Orbax and tensorstore from printing what they raise as well."""

  def __init__(self):
    self.is_reading = False
    self._hook: Any = None

  def install(self):
    """Does it from now on; once, however often it is called."""
    logging.get_absl_logger().addFilter(self._is_news)
    python_logging.getLogger("asyncio").addFilter(self._is_not_of_a_save)
    if self._hook is None:
      self._hook, sys.unraisablehook = sys.unraisablehook, self._show

  def _is_news(self, record):
    # While a checkpoint is read, also what it says of files that it finds damaged.
    return "/orbax/" not in record.pathname or not (record.exc_info or self.is_reading)

  @staticmethod
  def _is_not_of_a_save(record):
    # Of the writes of a save, Orbax awaits those until the first that fails.
    error = record.exc_info and record.exc_info[1]
    return not (error and ("/orbax/" in record.getMessage() or _errno(error)))

  def _show(self, unraisable):
    # When one of many writes has failed, Orbax closes the event loop that tensorstore tells of the others.
    if str(unraisable.exc_value) != "Event loop is closed":
      self._hook(unraisable)


_quiet = _Quiet()


@contextlib.contextmanager
def saving(folder):
  """Turns the errors of a save, or of a deletion, into DiskError where the file system is at fault."""
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
def restoring(folder, remedy=REMEDY):
  """Turns the errors of reading a checkpoint into UserError, unless the file system is at fault and may yet answer.

  Args:
    folder: of the checkpoint.
    remedy: what to do about it.
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


def is_damage(error):
  """Whether an error of reading a checkpoint is of what is stored, and not of the way to it."""
  is_late = isinstance(error, (TimeoutError, ConnectionError))  # of a bucket, without an errno
  return isinstance(error, DAMAGE) and not is_late and _errno(error) not in _OF_THE_WAY


def summary(error):
  """Returns the start of what an error says, with its type where that says nothing by itself."""
  text = " ".join(str(error).split())
  if isinstance(error, (KeyError, TypeError, AttributeError)):
    text = f"{type(error).__name__}: {text}"
  return text if len(text) <= 200 else f"{text[:197]}..."


def _errno(error):
  """Returns the errno in an error, in those that it came from, or in those of a group; None if there is none."""
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
