"""Paths as flags give them: on a disk, or in a bucket of Google Cloud Storage.

A path is a pathlib.Path, or for `gs://BUCKET/FOLDER` an etils.epath.Path, which goes through gcsfs.
"""

import os
import pathlib
import re
import stat
from typing import TypeAlias

from etils import epath
from etils.epath import backend, stat_utils

from tireid_jax.errors import UserError, naming
from tireid_jax.storage import gcs

Path: TypeAlias = pathlib.Path | epath.Path

# "gs:/" is what remains of "gs://" after it went through pathlib. A single letter could be a Windows drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?")


_etils_stat = backend._OsPathBackend.stat


def _stat(self, path):
  """Returns what etils does, with numeric ids for an owner or group that has no name.

  etils looks up the owner's name for every file whose size it reads, as TFDS and Orbax do, and fails for a user without
  an entry in passwd, as in a container that runs with --user.
  """
  try:
    return _etils_stat(self, path)
  except KeyError:
    found = os.stat(path)
    return stat_utils.StatResult(
      is_directory=stat.S_ISDIR(found.st_mode), length=found.st_size, mtime=int(found.st_mtime),
      owner=str(found.st_uid), group=str(found.st_gid), mode=found.st_mode,
    )  # fmt: skip


backend._OsPathBackend.stat = _stat  # type: ignore[method-assign]


def to_path(value: str | Path, flag: str = "path") -> Path:
  """Returns the path that a flag names: a pathlib.Path with `~` expanded, or an epath.Path in a bucket.

  Args:
    value: text, or a path, which is returned unchanged.
    flag: name of the flag, for messages.

  Raises:
    ValueError: for a URL of another scheme, or one without a bucket.
  """
  if isinstance(value, os.PathLike):
    return value
  if not _URL.match(value):
    return _expand(value, flag)
  if not value.startswith(gcs.SCHEME):
    raise UserError(f"{flag}={value} is not supported; give a local path or gs://BUCKET/FOLDER")
  if not _BUCKET.fullmatch(value):
    raise UserError(f"{flag}={value} names no bucket; give gs://BUCKET/FOLDER")
  gcs.configure_access()
  return epath.Path(value)


def local_path(value: str | os.PathLike, flag: str) -> pathlib.Path:
  """Returns the local path that a flag names, with `~` expanded.

  Raises:
    ValueError: for a URL, also of a bucket.
  """
  if isinstance(value, str) and _URL.match(value):
    raise UserError(f"{flag}={value} must be a local path; copy the files to a disk and give their folder")
  return _expand(value, flag)


def _expand(value, flag):
  try:
    return pathlib.Path(value).expanduser()
  except RuntimeError as error:
    raise UserError(f"{flag}={value}: there is no such user") from error


def is_remote(path: str | os.PathLike) -> bool:
  """Returns whether a path is in a bucket."""
  return os.fspath(path).startswith(gcs.SCHEME)


def absolute(path: Path) -> Path:
  """Returns an absolute path; one in a bucket always is."""
  return path if is_remote(path) else path.absolute()


def check(path: Path) -> Path:
  """Returns the same path, once it is known that it can be looked up: on a disk, or in a bucket that answers.

  Raises:
    FileNotFoundError: there is no such bucket.
    ValueError: the bucket cannot be used (see `gcs.check_bucket`), or the path may not be looked up.
  """
  if is_remote(path):
    gcs.check_bucket(os.fspath(path).removeprefix(gcs.SCHEME).partition("/")[0])
  else:
    with naming(path):
      path.exists()
  return path
