"""Google Cloud Storage: checks that a bucket can be used, and transfers objects to and from it through gcsfs."""

import contextlib
import functools
import os
import pathlib
import threading
from collections.abc import Iterator

import fsspec
from etils import epath

from tireid_jax.errors import MissingFileError, UserError

SCHEME = "gs://"
# How long a bucket may take to answer the first request.
DEADLINE_S = 10
# What a run needs: `objectUser` reads, writes, lists and deletes objects; `legacyBucketReader` reads the bucket's
# metadata, which Orbax requests.
ROLES = "roles/storage.objectUser and roles/storage.legacyBucketReader"


def configure_access() -> None:
  """Sets how epath and gcsfs access buckets; call it before either does."""
  os.environ.setdefault("EPATH_USE_TF", "false")
  # Otherwise gcsfs queries the type of the bucket over gRPC before each call.
  os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
  fsspec.config.conf["gcs"] = {
    "use_listings_cache": False,  # it would hide what other processes write
    # By default gcsfs falls back to anonymous access if it finds no credentials.
    "token": "anon" if os.environ.get("STORAGE_EMULATOR_HOST") else "google_default",
  }


@functools.cache
def check_bucket(bucket: str) -> None:
  """Sends a first request to a bucket, once in a process.

  Raises:
    FileNotFoundError: there is no such bucket.
    ValueError: it cannot be used: gcsfs is not installed, there are no credentials, access is denied, or it does not
      answer within DEADLINE_S.
  """
  try:
    import gcsfs  # noqa: F401
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
  except ImportError as error:
    raise UserError(f"{SCHEME}{bucket} needs gcsfs, which is not installed; run pip install gcsfs") from error
  reached, failed = _request(bucket)
  if reached == "bucket":
    return
  if isinstance(failed, exceptions.NotFound):
    raise MissingFileError(
      f"there is no bucket {SCHEME}{bucket}; create it with gcloud storage buckets create {SCHEME}{bucket}"
    ) from failed
  if isinstance(failed, exceptions.Forbidden):
    raise UserError(f"access to {SCHEME}{bucket} is forbidden; grant this account {ROLES} on the bucket") from failed
  if isinstance(failed, (GoogleAuthError, exceptions.Unauthorized)) or (failed is None and reached is None):
    raise UserError(
      f"no valid credentials for {SCHEME}{bucket}; run gcloud auth application-default login, set "
      f"GOOGLE_APPLICATION_CREDENTIALS, or on a Google Cloud VM attach a service account"
    ) from failed
  if failed is None:
    raise UserError(f"{SCHEME}{bucket} does not answer within {DEADLINE_S} s; check the network")
  if isinstance(failed, OSError) and "Project was not passed" in str(failed):
    raise UserError(f"{SCHEME}{bucket} needs the name of a Google Cloud project; set GOOGLE_CLOUD_PROJECT") from failed
  raise UserError(f"{SCHEME}{bucket} cannot be reached: {type(failed).__name__}: {failed}") from failed


def _request(bucket: str) -> tuple[str | None, Exception | None]:
  """Returns (how far a first request got by the deadline: None, "credentials" or "bucket"; the error that ended it)."""
  import requests
  from google.cloud import storage

  reached: list[str | None] = [None]
  errors: list[Exception | None] = [None]

  def request():
    try:
      client = storage.Client()
      reached.append("credentials")
      client.get_bucket(bucket, timeout=DEADLINE_S, retry=None)  # as Orbax does
      next(iter(client.list_blobs(bucket, max_results=1, timeout=DEADLINE_S, retry=None)), None)
      reached.append("bucket")
    except requests.Timeout:  # as if the thread were still waiting
      pass
    except Exception as error:
      errors.append(error)

  # A daemon, since the search for credentials cannot be interrupted and must not delay the end of the program.
  thread = threading.Thread(target=request, daemon=True)
  thread.start()
  thread.join(DEADLINE_S)
  return reached[-1], errors[-1]


@contextlib.contextmanager
def reporting_denial(path: epath.Path) -> Iterator[None]:
  """Turns a denied write into a ValueError that names the missing roles."""
  try:
    yield
  except OSError as error:
    if not str(error).startswith("Forbidden"):  # how gcsfs reports status 403
      raise
    raise UserError(f"writing {path} is forbidden; grant this account {ROLES} on the bucket") from error


def upload(file: pathlib.Path, path: epath.Path) -> None:
  """Copies a local file of any size to a path in a bucket.

  Raises:
    ValueError: the bucket denies it.
  """
  with reporting_denial(path):
    _file_system().put_file(os.fspath(file), os.fspath(path))


def list_objects(folder: epath.Path) -> list[epath.Path]:
  """Returns the paths of the objects directly below a folder, sorted by name; empty if there is no such folder."""
  return [epath.Path(f"{SCHEME}{path}") for path in sorted(_file_system().find(os.fspath(folder), maxdepth=1))]


def read_objects(folder: epath.Path) -> list[bytes]:
  """Returns the contents of the objects of `list_objects`, downloaded concurrently."""
  paths = [os.fspath(path) for path in list_objects(folder)]
  contents = _file_system().cat(paths) if paths else {}
  return [contents[path.removeprefix(SCHEME)] for path in paths]


def object_digests(folder: epath.Path) -> dict[str, list]:
  """Returns {path relative to a folder: [size in bytes, crc32c as stored by the bucket]} of all objects below it."""
  top = os.fspath(folder).removeprefix(SCHEME).rstrip("/") + "/"
  found = _file_system().find(os.fspath(folder), detail=True)
  return {path.removeprefix(top): [info["size"], info["crc32c"]] for path, info in sorted(found.items())}


def _file_system() -> fsspec.AbstractFileSystem:
  return fsspec.filesystem("gcs")
