"""Errors that a user can cause and mend; a command answers them in one line, and everything else with its traceback."""

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Mapping


class UserError(ValueError):
  """Bad input: the message says what is wrong, what came and what to do."""


class MissingFileError(UserError, FileNotFoundError):
  """A file or folder that the user named is not there."""


class DivergedError(UserError, FloatingPointError):
  """Training has come to values that are not finite. All processes of a run come to them at the same step."""


class DiskError(UserError, OSError):
  """A file that the file system does not let this process read or write."""


# Errors of a file system that the user can mend, and how. Others (EIO, ESTALE, time-outs of network file systems) keep
# their traceback and status 1: they may pass, so launch scripts try again.
_REMEDIES = {
  errno.ENOSPC: "make room there, or choose another folder",
  errno.EDQUOT: "make room there, or choose another folder",
  errno.EFBIG: "raise the limit of `ulimit -f`, or choose another folder",
  errno.EROFS: "choose another folder",
  errno.EACCES: "change its permissions, or choose another path",
  errno.EPERM: "change its permissions, or choose another path",
  errno.EISDIR: "give the path of a file",
  errno.ENOTDIR: "give the path of a folder",
  errno.EEXIST: "remove it, or choose another path",
  errno.ENAMETOOLONG: "choose a shorter path",
  errno.ELOOP: "remove the links in it that lead back to it",
  errno.EMFILE: "raise the limit of `ulimit -n`",
}


def did_you_mean(name: str, names: Iterable[str], *, shown_as: Mapping[str, str] | None = None) -> str:
  """Returns " (did you mean 'NAME'?)" with the closest of the allowed names; "" if none is close.

  Args:
    name: what the user gave.
    names: the allowed names.
    shown_as: {allowed name: what to suggest for it}, where that is not the name itself.
  """
  close = difflib.get_close_matches(name, list(names), n=1)
  if not close:
    return ""
  suggestion = shown_as[close[0]] if shown_as else close[0]
  return f" (did you mean {suggestion!r}?)"


def first_line(error):
  """Returns the type of what a library raised, and the first line of what it says."""
  said = str(error).strip()
  return f"{type(error).__name__}: {said.splitlines()[0] if said else 'no reason given'}"


@contextlib.contextmanager
def naming(path):
  """Turns an OSError that the user can mend into a DiskError, or MissingFileError, that names what was in use.

  Args:
    path: file or folder that is read or written; for messages.
  """
  try:
    yield
  except UserError:
    raise
  except OSError as error:
    named = disk_error(error, path)
    if named is None:
      raise
    raise named from error


def disk_error(error, path):
  """Returns the DiskError or MissingFileError of an OSError, or None if it is none that the user can mend."""
  other = os.fspath(error.filename) if isinstance(error.filename, (str, os.PathLike)) else ""
  where = f" ({other})" if other and not other.startswith(os.fspath(path).rstrip("/")) else ""
  if error.errno == errno.ENOENT:
    return MissingFileError(f"{path}: there is no such file or folder{where}")
  if error.errno not in _REMEDIES:
    return None
  return DiskError(f"{path}: {os.strerror(error.errno).lower()}{where}; {_REMEDIES[error.errno]}")
