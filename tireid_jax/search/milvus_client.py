"""A connection to Milvus whose errors are UserErrors of one line."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from tireid_jax.errors import UserError, disk_error, first_line, naming
from tireid_jax.search.milvus_address import Address, check_installed

# How long Milvus may take to accept a connection, and to answer a request: loading a large collection takes longest.
CONNECT_S, REQUEST_S = 10, 300


def connect(address: Address) -> Any:
  """Returns a pymilvus.MilvusClient. For Milvus Lite, a server starts in this process, on a port of the loopback
  interface that other users of the machine can reach too.

  Raises:
    UserError: packages are missing, Milvus does not answer, it rejects the credentials, or another process holds the
      folder of Milvus Lite.
  """
  check_installed(address)
  import pymilvus

  for name in ("pymilvus", "pymilvus.milvus_client"):  # they log a traceback of each error that is raised
    logging.getLogger(name).setLevel(logging.CRITICAL)
  if address.folder is not None:
    return _open_lite(address, pymilvus)
  with reporting(address):
    return pymilvus.MilvusClient(
      address.uri, db_name=address.database, token=os.environ.get("MILVUS_TOKEN", ""), timeout=CONNECT_S
    )


@contextlib.contextmanager
def reporting(address: Address) -> Iterator[None]:
  """Turns errors of Milvus into UserErrors that name the address."""
  import grpc
  import pymilvus

  try:
    yield
  except (pymilvus.MilvusException, grpc.RpcError) as error:
    raise UserError(f"{address.text}: {_explained(error)}") from error


def _explained(error):
  """Returns what is wrong and what to do, in a line."""
  import grpc

  # pymilvus replaces the reason why a connection fails by a text of its own.
  failed = next((each for each in (error, error.__cause__) if isinstance(each, grpc.RpcError)), None)
  if failed is not None:
    reason = f"{failed.code().name.lower()}: {failed.details()}"
  else:
    reason = error.message.strip() or first_line(error)
  reason = " ".join(reason.split())
  words = reason.lower()
  if "unauthenticated" in words or "permission" in words or "auth check" in words:
    return f"Milvus rejects the credentials; set MILVUS_TOKEN=USER:PASSWORD, or to an API key ({reason})"
  if "unavailable" in words or "deadline" in words or "fail connecting" in words:
    return f"Milvus does not answer; start it, or check the address and the network ({reason})"
  return f"Milvus reports: {reason}"


class _Caught(logging.Handler):
  """Keeps the last exception that was logged."""

  error: BaseException | None = None

  def emit(self, record):
    if record.exc_info:
      self.error = record.exc_info[1]


def _open_lite(address, pymilvus):
  """Returns a client of Milvus Lite; its server manager logs why a folder cannot be opened, and raises nothing."""
  folder = address.folder
  with naming(folder):
    if folder.is_file():
      raise UserError(f"{address.text} is a file; give another folder (versions of Milvus Lite before 3 wrote files)")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "LOCK").exists():
      raise UserError(f"{address.text} holds other files and no index; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
  logging.getLogger("grpc._server").setLevel(logging.CRITICAL)  # it logs each call that Milvus Lite does not implement
  caught, logger = _Caught(), logging.getLogger("milvus_lite")
  logger.propagate = False
  logger.addHandler(caught)
  try:
    return pymilvus.MilvusClient(str(folder), timeout=CONNECT_S)
  except pymilvus.MilvusException as error:
    raise _of_folder(address, caught.error or error) from error


def _of_folder(address, error):
  from milvus_lite.exceptions import DataDirLockedError

  if isinstance(error, DataDirLockedError):
    return UserError(
      f"{address.text} is in use by another process, and Milvus Lite allows only one; end that one, or use a cluster"
    )
  if isinstance(error, OSError) and (named := disk_error(error, address.folder)) is not None:
    return named
  return UserError(f"{address.text} cannot be opened ({first_line(error)}); delete the folder and make the index again")
