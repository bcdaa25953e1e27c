"""Files and folders that appear whole or not at all, on a disk or in a bucket; JSON."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from etils import epath

from tireid_jax.errors import UserError, naming
from tireid_jax.storage import gcs
from tireid_jax.storage.locations import Path, is_remote, to_path


def write_bytes(path: str | Path, data: bytes) -> None:
  """Writes a file atomically, creating its parent folders: a reader sees the previous content or the new.

  Raises:
    ValueError: the bucket denies it, or the disk is full, read-only or the like.
  """
  path = to_path(path)
  if is_remote(path):
    with gcs.reporting_denial(path):
      path.write_bytes(data)  # an object appears when its upload is complete
    return
  with naming(path):
    if path.exists() and not path.is_file():
      path.write_bytes(data)  # a pipe or a terminal, which must not be replaced
      return
    path = path.resolve()  # the target of a link is replaced, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
      temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
  """Writes text as UTF-8; otherwise as `write_bytes`."""
  write_bytes(path, text.encode())


def write_json(path: str | Path, data: Any) -> None:
  """Writes JSON data, indented; otherwise as `write_bytes`."""
  write_text(path, json.dumps(data, indent=2) + "\n")


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary path to write to, which then replaces `path`; after an error it is removed.

  Args:
    path: on a disk, in a folder that exists.
  """
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    yield temporary
    with temporary.open("rb") as file:
      os.fsync(file.fileno())  # otherwise a power failure may leave the new name without its content
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)  # its space may be what the disk lacks
    raise


@contextlib.contextmanager
def new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields an empty temporary folder to fill, which is then renamed to `path`; after an error it is removed.

  The caller holds a lock that covers `path`, since the temporary folder of a process that was killed is removed first.

  Args:
    path: on a disk; nothing or an empty folder is there.
  """
  temporary = path.with_name(f".{path.name}.part")
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    yield temporary
    temporary.rename(path)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise


def remove_folder(path: Path) -> None:
  """Removes a folder and its contents, on a disk or in a bucket."""
  with naming(path):
    epath.Path(path).rmtree()


def read_json(path: Path, remedy: str) -> dict[str, Any]:
  """Returns the JSON object in a file.

  Args:
    path: of the file.
    remedy: what to do if it is damaged; completes "PATH is damaged (...); ".

  Raises:
    UserError: the file is missing, cannot be read, or holds no JSON object.
  """
  with naming(path):
    try:
      data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
      raise UserError(f"{path} is damaged ({error}); {remedy}") from error
  if not isinstance(data, dict):
    raise UserError(f"{path} is damaged (it holds no JSON object); {remedy}")
  return data
