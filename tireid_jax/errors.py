"""Errors that a user can cause and fix: a command reports them in one line, all other errors with a traceback."""

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator, Mapping


class UserError(ValueError):
  """Bad input; the message says what is wrong, what was given and what to do."""


class MissingFileError(UserError, FileNotFoundError):
  """A file or folder that the user named does not exist."""


class DivergedError(UserError, FloatingPointError):
  """Training has produced non-finite values, at the same step in all processes of a run."""


class DiskError(UserError, OSError):
  """A file that this process cannot read or write."""


# File system errors that the user can fix, and how. Others (EIO, ESTALE, time-outs of network file systems) keep their
# traceback and exit status 1: they may be temporary, so launch scripts retry.
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


def first_line(error: BaseException) -> str:
  """Returns the type of a library's error and the first line of its message."""
  message = str(error).strip()
  return f"{type(error).__name__}: {message.splitlines()[0] if message else 'no reason given'}"


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
  """Turns an OSError that the user can fix into a DiskError or MissingFileError that names the path.

  Args:
    path: file or folder that is read or written.
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


def disk_error(error: OSError, path: str | os.PathLike) -> UserError | None:
  """Returns the DiskError or MissingFileError for an OSError; None if the user cannot fix it."""
  other = os.fspath(error.filename) if isinstance(error.filename, (str, os.PathLike)) else ""
  where = f" ({other})" if other and not other.startswith(os.fspath(path).rstrip("/")) else ""
  if error.errno == errno.ENOENT:
    return MissingFileError(f"{path}: there is no such file or folder{where}")
  if error.errno not in _REMEDIES:
    return None
  return DiskError(f"{path}: {os.strerror(error.errno).lower()}{where}; {_REMEDIES[error.errno]}")
