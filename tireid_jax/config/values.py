"""A config as data: checked, converted to and from JSON, and compared with that of a workdir."""

import json
import runpy
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from tireid_jax import fields
from tireid_jax.config import config_file, former, paths, schema
from tireid_jax.config.schema import STAGES as STAGES
from tireid_jax.errors import UserError, did_you_mean

# Sections that all stages of a workdir share: another value would mean another model or data set.
SHARED_FIELDS = ("data", "model", "prompts", "temperature", "seed", "select_on", "select_by", "toy", "pool")
# Exceptions: fields that change memory and speed but not results, or that the data's fingerprint already covers.
FREE_FIELDS = (
  "data/use_exif",
  "pool/folder",
  "model/blocks",
  "model/remat",
  "model/attention",
  *(f"stage{n}/microbatch_size" for n in STAGES),
)


def to_json(config: ConfigDict | dict[str, Any]) -> dict[str, Any]:
  """Returns the config as plain JSON data: tuples become lists."""
  return json.loads(config.to_json() if isinstance(config, ConfigDict) else json.dumps(config))


def from_json(data: Any) -> ConfigDict:
  """Returns the ConfigDict of a stored config, with the fields that its version did not have yet.

  Raises:
    UserError: for data that is not a config.
  """

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value

  try:
    return ConfigDict(tuples(former.with_new_fields(data)))
  except (
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
  ) as error:  # for example a name with a dot in a damaged file
    raise UserError(f"this is not a config: {' '.join(str(error).split())[:200]}") from error


def check(config: ConfigDict) -> None:
  """Raises UserError, naming the field, for a value that no run could use; `stages.from_config` checks the stages."""
  fields.check(schema.Run, config)


def stage_numbers(config: ConfigDict, flag: str) -> tuple[int, ...]:
  """Returns the stages that --stage=FLAG runs: 0, 1 or 2, or for "all" those of the config."""
  if flag == "all":
    own_stage0 = (0,) if config.pretrained == "stage0" else ()
    return tuple(sorted({*own_stage0, *config.stages}))
  if flag not in ("0", "1", "2"):
    raise UserError(f"--stage={flag} is no stage; it must be 0, 1, 2 or all")
  return (int(flag),)


def seeds(values: Sequence[str]) -> list[int]:
  """Returns the seeds of a list flag: one or more different whole numbers."""
  if not values or not all(value.isdecimal() for value in values) or len({int(v) for v in values}) != len(values):
    raise UserError(f"--seeds={','.join(values)} must be different whole numbers, as 0,1,2")
  found = [int(value) for value in values]
  if max(found) > fields.MAX_SEED:
    raise UserError(f"--seeds={','.join(values)} must be at most {fields.MAX_SEED}")
  return found


def differences(
  old: dict[str, Any], new: dict[str, Any], stage_numbers: Iterable[int], free_fields: Collection[str] = ()
) -> list[str]:
  """Returns a line for each field in which two configs (JSON data) would make these stages other runs.

  Other stages' fields, logging, the mesh and folders of data may differ, and so may the spelling of a path and
  `free_fields`, as "stage0/epochs".
  """
  sections = (*SHARED_FIELDS, *(f"stage{n}" for n in stage_numbers))
  old_fields, new_fields = _flatten(former.with_new_fields(old)), _flatten(new)
  return [
    f"{field.replace('/', '.')}: {old_fields.get(field)!r} in the workdir, {new_fields.get(field)!r} requested"
    for field in sorted(old_fields.keys() | new_fields.keys())
    if field.split("/")[0] in sections
    and field not in (*FREE_FIELDS, *free_fields)
    and not _is_same(field, old_fields, new_fields)
  ]


def _is_same(field, old_fields, new_fields):
  old, new = old_fields.get(field), new_fields.get(field)
  return paths.is_same(old, new) if field.replace("/", ".") in (*paths.SOURCES, *paths.TOKENIZERS) else old == new


def _flatten(data, prefix=""):
  fields: dict = {}
  for key, value in data.items():
    path = f"{prefix}{key}"
    fields.update(_flatten(value, f"{path}/") if isinstance(value, dict) else {path: value})
  return fields


def explain_flag_error(error: Exception, argv: Sequence[str]) -> str:
  """Returns one line that explains an error of the command line."""
  for arg in argv:
    flag, _, field = arg.split("=")[0].removeprefix("--").partition(".")
    missing = _missing_field(flag, field, argv) if flag in ("config", "data") and field else None
    if missing:
      return missing
  return f"{error} (--help lists the flags)" if isinstance(error, flags.UnrecognizedFlagError) else str(error)


def _missing_field(flag, field, argv):
  """Returns the error of a dotted field name, with the closest existing name, or None if the config has the field."""
  given = next((arg.split("=", 1)[1] for arg in argv if arg.startswith(f"--{flag}=")), None)
  if given is None:
    return None
  try:
    path, _, row = config_file.find(given).partition(":")
  except ValueError as error:
    return f"--{flag}={given}: {error}"
  # Read again, since the flag has no value if one of its fields was invalid.
  try:
    section = runpy.run_path(path)["get_config"](row)
  except Exception:  # the file's own error is the one to report
    return None
  for name in field.split("."):
    if not isinstance(section, ConfigDict):
      return f"--{flag}.{field}: {name!r} is below a field that has no fields" if section is not None else None
    if name not in section:
      suggestion = did_you_mean(name, section)
      return f"--{flag}.{field}: there is no field {name!r}{suggestion}; it must be one of {', '.join(section)}"
    section = section[name]
  return None
