"""Config fields that hold a path, or either a path or a name: how they are stored and compared."""

import copy
import os
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from tireid_jax.errors import naming
from tireid_jax.storage import locations

# Always a folder on a disk.
FOLDERS = ("data_dir",)
# A file or folder, also another run's workdir in a bucket; or a keyword, a hub id, a variant.
SOURCES = ("pretrained", "stage0.init_from", "stage1.init_from", "stage2.init_from")
# A folder on a disk, or a hub id.
TOKENIZERS = ("data.tokenizer",)
KEYWORDS = ("", "random", "pretrained", "stage0", "stage1", "stage2")


def with_absolute_paths(config: ConfigDict) -> ConfigDict:
  """Returns a copy of a config in which paths on a disk are absolute, so that they hold from any working directory.

  Raises:
    ValueError: a path is a URL that cannot be used there, of a user that there is not, or cannot be looked up.
  """
  config = copy.deepcopy(config)
  for field in FOLDERS:
    config[field] = _absolute(locations.local_path(config[field], f"--config.{field}"))
  for fields, to_path in ((SOURCES, locations.to_path), (TOKENIZERS, locations.local_path)):
    for field in fields:
      section, _, name = field.rpartition(".")
      holder = config[section] if section else config
      holder[name] = resolve(holder[name], to_path=to_path, flag=f"--config.{field}")
  return config


def resolve(value: str, *, to_path: Callable = locations.local_path, flag: str = "path") -> str:
  """Returns a path on a disk as an absolute one; a name, a keyword or a path in a bucket unchanged."""
  if value in KEYWORDS:
    return value
  path = to_path(value, flag)
  with naming(path):  # which may be too long, or in a folder that may not be searched
    is_path = not locations.is_remote(path) and (path.exists() or value.startswith("~"))
  return _absolute(path) if is_path else value


def _absolute(path):
  path = os.fspath(path.absolute())
  plain = os.path.normpath(path)
  # Not after a symbolic link: there `..` is the parent of the link's target.
  return plain if os.path.realpath(plain) == os.path.realpath(path) else path


def is_same(first: Any, second: Any) -> bool:
  """Returns whether two values are equal, or paths of the same file or folder."""
  if first == second:
    return True
  if not (isinstance(first, str) and isinstance(second, str)) or {first, second} & set(KEYWORDS):
    return False
  try:
    return os.path.samefile(os.path.expanduser(first), os.path.expanduser(second))
  except OSError:
    return os.path.normpath(os.path.abspath(first)) == os.path.normpath(os.path.abspath(second))
