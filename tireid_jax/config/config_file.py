"""Finds the config file that a flag names: by its path, or among the configs that come with the package."""

import os
import pathlib
import sys
import traceback

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import config_flags as flag_types

from tireid_jax.errors import UserError, did_you_mean
from tireid_jax.storage import locations

# In a checkout a link to the top-level folder configs/, which the wheel holds as files.
PACKAGE_FOLDER = (pathlib.Path(__file__).parents[1] / "configs").resolve()
_NO_CONFIGS = ("__init__", "common")


def define_flag(name: str, default: str | None, help_string: str, flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines a flag FILE[:ABLATION], whose value is the config and whose fields are flags too, as --config.seed=1.

  FILE is a path or, where there is no such file, the name of one of the package's configs: `configs/cuhk.py` or `cuhk`.
  """
  # A default is read here, at once.
  config_flags.DEFINE_config_file(name, default and find(default), help_string, flag_values)
  flag_values[name].parser = _Parser(name)


class _Parser(flag_types.ConfigFileFlagParser):
  def parse(self, path):
    file = find(path)
    try:
      config = super().parse(file)
    except Exception as error:  # whatever the file raises; of some types the parser raises another with its text
      raise UserError(_fault(error.__context__ or error, file)) from error
    if not isinstance(config, ConfigDict):
      # Of an OSError the parser makes an object that raises it later.
      kept = getattr(config, "__dict__", {}).get("_error")
      kind = "None" if config is None else f"a {type(config).__name__}"
      raise UserError(_fault(kept, file) if kept else f"get_config() returns {kind}, not a ConfigDict")
    return config


def _fault(error, file):
  """Returns what a config file raised and, unless that is bad input, in which of its lines."""
  if isinstance(error, UserError):
    return str(error)
  path = file.partition(":")[0]
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
  where = f"line {lines[-1]}: " if lines else ""
  return f"{where}{type(error).__name__}: {error}"


def find(given: str) -> str:
  """Returns FILE[:ABLATION] with the path of an existing file.

  Raises:
    ValueError: FILE is neither a file nor one of the package's configs; names the nearest.
  """
  path, colon, ablation = os.fspath(locations.local_path(given, "FILE")).partition(":")
  if pathlib.Path(path).is_file():
    return f"{path}{colon}{ablation}"
  own = package_configs()
  name = path.removeprefix("configs/").removesuffix(".py")
  if name not in own:
    raise UserError(_missing(path, own))
  return f"{own[name]}{colon}{ablation}"


def package_configs() -> dict[str, pathlib.Path]:
  """Returns {name: path} of the configs that come with the package."""
  return {file.stem: file for file in sorted(PACKAGE_FOLDER.glob("*.py")) if file.stem not in _NO_CONFIGS}


def _missing(path, own):
  siblings = {file.stem: str(file) for file in pathlib.Path(path).parent.glob("*.py") if file.stem not in _NO_CONFIGS}
  meant = {name: name for name in own} | siblings  # name: what to give for it
  suggestion = did_you_mean(pathlib.Path(path).stem, meant, shown_as=meant)
  return f"there is no file {path!r}, nor has {PACKAGE_FOLDER} such a config ({', '.join(own)}){suggestion}"


def print_sources() -> None:
  """Prints to stderr the file of each config flag that has a value."""
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    if flag_types.is_config_flag(flag) and flag.value is not None:
      path, colon, ablation = find(config_flags.get_config_filename(flag)).partition(":")
      print(f"--{name}: read {pathlib.Path(path).absolute()}{colon}{ablation}", file=sys.stderr)
