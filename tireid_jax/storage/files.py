"""Paths as flags give them, on a disk or in a bucket of Google Cloud Storage, and files that are written whole.

A path is a pathlib.Path, or an etils.epath.Path for `gs://BUCKET/FOLDER`, which goes through gcsfs.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import stat
import threading

import fsspec
from etils import epath
from etils.epath import backend, stat_utils

from tireid_jax.errors import MissingFileError, UserError, naming

GS = "gs://"
# How long a bucket may take to answer when it is checked.
DEADLINE_S = 10
# What a run does in a bucket: `objectUser` reads, writes, lists and deletes objects, `legacyBucketReader` reads what
# kind of bucket it is, which Orbax asks for.
ROLES = "roles/storage.objectUser and roles/storage.legacyBucketReader"

# "gs:/" is what remains of "gs://" after it went through pathlib. A single letter could be a Windows drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?")


_etils_stat = backend._OsPathBackend.stat


def _stat(self, path):
  """Returns what etils does of a file, with numbers for an owner or group that has no name.

  etils looks up the names of every file that it asks for the size of, as TFDS and Orbax do, and fails for a user
  without an entry in passwd, as in a container that runs with --user.
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


def to_path(value, flag="path"):
  """Returns the path that a flag names: a pathlib.Path with `~` expanded, or an epath.Path in a bucket.

  Args:
    value: text; a path is returned as it is.
    flag: what the text was given as, for messages.

  Raises:
    ValueError: for a URL of another scheme, or one that names no bucket.
  """
  if isinstance(value, os.PathLike):
    return value
  if not _URL.match(value):
    return _expand(value, flag)
  if not value.startswith(GS):
    raise UserError(f"{flag}={value} is not supported; give a local path or gs://BUCKET/FOLDER")
  if not _BUCKET.fullmatch(value):
    raise UserError(f"{flag}={value} names no bucket; give gs://BUCKET/FOLDER")
  _configure()
  return epath.Path(value)


def local_path(value, flag):
  """Returns the pathlib.Path that a flag names, with `~` expanded.

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


def _configure():
  """Settles how epath and gcsfs reach buckets, before either does."""
  os.environ.setdefault("EPATH_USE_TF", "false")
  # Otherwise gcsfs asks over gRPC, before each call, what kind of bucket it is.
  os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
  fsspec.config.conf["gcs"] = {
    "use_listings_cache": False,  # it would hide what other processes write
    # By default gcsfs carries on as an anonymous user where it finds no credentials.
    "token": "anon" if os.environ.get("STORAGE_EMULATOR_HOST") else "google_default",
  }


def is_remote(path):
  """Whether a path is in a bucket."""
  return os.fspath(path).startswith(GS)


def absolute(path):
  """Returns an absolute path; one in a bucket always is."""
  return path if is_remote(path) else path.absolute()


def check(path):
  """Returns a path that can be looked up, once the bucket that it is in, if any, has answered.

  Each bucket is contacted once in a process.

  Raises:
    FileNotFoundError: there is no such bucket.
    ValueError: it cannot be used: gcsfs is not installed, there are no credentials, access is denied, or it does not
      answer within DEADLINE_S.
  """
  if is_remote(path):
    _check_bucket(os.fspath(path).removeprefix(GS).partition("/")[0])
  else:
    with naming(path):
      path.exists()  # raises where it may not be looked up, or is no path at all
  return path


@functools.cache
def _check_bucket(bucket):
  try:
    import gcsfs  # noqa: F401
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
  except ImportError as error:
    raise UserError(f"{GS}{bucket} needs gcsfs, which is not installed; run pip install gcsfs") from error
  reached, failed = _contact(bucket)
  if reached == "bucket":
    return
  if isinstance(failed, exceptions.NotFound):
    raise MissingFileError(
      f"there is no bucket {GS}{bucket}; create it with gcloud storage buckets create {GS}{bucket}"
    ) from failed
  if isinstance(failed, exceptions.Forbidden):
    raise UserError(f"access to {GS}{bucket} is forbidden; grant this account {ROLES} on the bucket") from failed
  if isinstance(failed, (GoogleAuthError, exceptions.Unauthorized)) or (failed is None and reached is None):
    raise UserError(
      f"no valid credentials for {GS}{bucket}; run gcloud auth application-default login, set "
      f"GOOGLE_APPLICATION_CREDENTIALS, or on a Google Cloud VM attach a service account"
    ) from failed
  if failed is None:
    raise UserError(f"{GS}{bucket} does not answer within {DEADLINE_S} s; check the network")
  if isinstance(failed, OSError) and "Project was not passed" in str(failed):
    raise UserError(f"{GS}{bucket} needs the name of a Google Cloud project; set GOOGLE_CLOUD_PROJECT") from failed
  raise UserError(f"{GS}{bucket} cannot be reached: {type(failed).__name__}: {failed}") from failed


def _contact(bucket):
  """Returns (how far a first contact got by the deadline: None, "credentials" or "bucket"; the error that ended it)."""
  from google.cloud import storage

  reached: list[str | None] = [None]
  errors: list[Exception | None] = [None]

  def contact():
    try:
      client = storage.Client()
      reached.append("credentials")
      client.get_bucket(bucket, timeout=DEADLINE_S, retry=None)  # as Orbax does
      next(iter(client.list_blobs(bucket, max_results=1, timeout=DEADLINE_S, retry=None)), None)
      reached.append("bucket")
    except Exception as error:
      errors.append(error)

  # A daemon, since the search for credentials cannot be interrupted and must not delay the end of the program.
  thread = threading.Thread(target=contact, daemon=True)
  thread.start()
  thread.join(DEADLINE_S)
  return reached[-1], errors[-1]


@contextlib.contextmanager
def _explaining(path):
  """Turns a denied write into a ValueError that says what is missing."""
  try:
    yield
  except OSError as error:
    if not str(error).startswith("Forbidden"):  # how gcsfs reports status 403
      raise
    raise UserError(f"writing {path} is forbidden; grant this account {ROLES} on the bucket") from error


def write_bytes(path, data):
  """Writes a file whole, with the folders above it: a reader sees what was there before or all of it.

  Raises:
    ValueError: the bucket denies it, or the disk is full, read-only or the like.
  """
  path = to_path(path)
  if is_remote(path):
    with _explaining(path):
      path.write_bytes(data)  # an object appears when its upload is complete
    return
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  with naming(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # otherwise a loss of power may leave the new name and none of the data
      temporary.replace(path)
    except OSError:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)  # the room that it takes may be what is lacking
      raise


def remove_folder(path):
  """Removes a folder with all that it holds, on a disk or in a bucket."""
  with naming(path):
    path.rmtree() if is_remote(path) else shutil.rmtree(path)


def read_json(path, remedy):
  """Returns the JSON object in a file, a dict.

  Args:
    path: of the file.
    remedy: what to do if it is damaged, to be read after "is damaged (...); ".

  Raises:
    UserError: the file is not there, cannot be read, or holds no JSON object.
  """
  with naming(path):
    try:
      data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
      raise UserError(f"{path} is damaged ({error}); {remedy}") from error
  if not isinstance(data, dict):
    raise UserError(f"{path} is damaged (it holds no JSON object); {remedy}")
  return data


def upload(file, path):
  """Copies a local file, of any size, to a path in a bucket; errors as `write_bytes`."""
  with _explaining(path):
    _files().put_file(os.fspath(file), os.fspath(path))


def list_objects(folder):
  """Returns the paths of the objects directly below a folder in a bucket, in order of name; none where it is not."""
  return [epath.Path(f"{GS}{path}") for path in sorted(_files().find(os.fspath(folder), maxdepth=1))]


def read_objects(folder):
  """Returns the contents of `list_objects`, fetched many at a time."""
  paths = [os.fspath(path) for path in list_objects(folder)]
  contents = _files().cat(paths) if paths else {}
  return [contents[path.removeprefix(GS)] for path in paths]


def object_digests(folder):
  """Returns {path below a folder in a bucket: [bytes, the crc32c that the bucket keeps]} of its objects."""
  top = os.fspath(folder).removeprefix(GS).rstrip("/") + "/"
  found = _files().find(os.fspath(folder), detail=True)
  return {path.removeprefix(top): [info["size"], info["crc32c"]] for path, info in sorted(found.items())}


def _files():
  return fsspec.filesystem("gcs")
