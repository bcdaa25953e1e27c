"""Addresses of an index in Milvus, as --index=milvus:URI gives them.

milvus:FOLDER.db                    Milvus Lite, in this process, with its data in a folder
milvus:http://HOST:19530            a cluster; https too
milvus:http://HOST:19530/DATABASE   a database of it other than the default one
milvus:URI#COLLECTION               a collection other than `tireid_jax`

The environment variable MILVUS_TOKEN holds the credentials of a cluster, USER:PASSWORD or an API key; on a command line
other users of the machine could read them.
"""

import importlib.util
import os
import pathlib
import re
import urllib.parse
from typing import NamedTuple, TypeGuard

from tireid_jax.errors import UserError

_PREFIX = "milvus:"
_SCHEMES = ("http", "https")
_DEFAULT_COLLECTION = "tireid_jax"
# What Milvus accepts as the name of a collection.
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_FORMS = "give milvus:FOLDER.db for Milvus Lite, or milvus:http://HOST:19530 for a cluster"


class Address(NamedTuple):
  """A collection in Milvus.

  Attributes:
    text: as the user gave it.
    uri: of the cluster, without the database; "" for Milvus Lite.
    folder: absolute, of Milvus Lite; None for a cluster.
    database: of a cluster; "" for the default one.
    collection: its name.
  """

  text: str
  uri: str
  folder: pathlib.Path | None
  database: str
  collection: str


def is_milvus(index: str | os.PathLike) -> TypeGuard[str]:
  """Returns whether a value of --index names an index in Milvus."""
  return isinstance(index, str) and index.startswith(_PREFIX)


def parse(text: str, flag: str = "--index") -> Address:
  """Returns the Address of "milvus:URI".

  Raises:
    UserError: it is none.
  """
  given = f"{flag}={text}"
  uri, hash_sign, collection = text.removeprefix(_PREFIX).partition("#")
  collection = collection if hash_sign else _DEFAULT_COLLECTION
  if not _COLLECTION.fullmatch(collection):
    raise UserError(f"{given}: the collection {collection!r} must consist of letters, digits and _, no digit first")
  if "://" in uri:
    return _parse_url(given, text, uri, collection)
  try:
    folder = pathlib.Path(uri).expanduser().absolute()
  except RuntimeError as error:
    raise UserError(f"{given}: there is no such user") from error
  if folder.suffix != ".db":
    raise UserError(f"{given} is no address of Milvus: a local folder must end in .db; {_FORMS}")
  return Address(text, "", folder, "", collection)


def _parse_url(given, text, uri, collection):
  try:
    url = urllib.parse.urlsplit(uri)
    port = url.port
  except ValueError as error:
    raise UserError(f"{given} is no address ({error}); {_FORMS}") from error
  if url.scheme not in _SCHEMES:
    raise UserError(f"{given} is not supported; {_FORMS}")
  if url.username is not None:
    without = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    raise UserError(
      f"--index=milvus:{without} was given with a password, which others can read on the command line; leave it out "
      f"and set MILVUS_TOKEN=USER:PASSWORD"
    )
  database = url.path.strip("/")
  if not url.hostname or port == 0 or "/" in database or url.query:
    raise UserError(f"{given} is no address of Milvus; {_FORMS}")
  return Address(text, f"{url.scheme}://{url.netloc}", None, database, collection)


def check_installed(address: Address) -> None:
  """Raises UserError if the packages that an address needs are not installed."""
  for name in ("pymilvus", *(["milvus_lite"] if address.folder else [])):
    if importlib.util.find_spec(name) is None:
      raise UserError(f'{address.text} needs the package {name}; run pip install "tireid_jax[milvus]"')
