"""Files of a workdir, and whether it belongs to the run that wants to use it."""

import contextlib
import io
import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tireid_jax.config import former
from tireid_jax.config import values as config_lib
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.parallel import distributed
from tireid_jax.storage import files, locations, lock
from tireid_jax.storage.locations import Path

CONFIG_FILE = "config.json"
RESULT_FILE = "result.json"
# Ranks and precisions of every query of the test split.
RANKS_FILE = "ranks_test.npz"

# What to do about one of these files if it is damaged.
_REMEDY = "put back a copy of it, or remove it and run the same command again, which writes it"


def stage_folder(workdir: str | Path, number: int) -> Path:
  """Returns WORKDIR/stageN."""
  return locations.to_path(workdir, "--workdir") / f"stage{number}"


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[lock.Lock]:
  """Holds a lock on a workdir and yields it. Every process of a run calls this; process 0 acquires the lock.

  Raises:
    ValueError: another run, which the message identifies, is using the workdir.
  """
  held = lock.Lock(workdir, f"--workdir={workdir}", "choose another --workdir")
  try:
    while not distributed.broadcast_from_first(held.acquire):
      pass
    yield held
  finally:
    held.release()


def read_result(workdir: str | Path, number: int) -> dict[str, Any] | None:
  """Returns the result of a stage, or None if it has not finished."""
  path = stage_folder(workdir, number) / RESULT_FILE
  return files.read_json(path, _REMEDY) if path.is_file() else None


def read_config(workdir: str | Path) -> ConfigDict:
  """Returns the config of the most recent run in a workdir.

  Raises:
    FileNotFoundError: there is none.
  """
  path = locations.to_path(workdir, "--workdir") / CONFIG_FILE
  if not path.is_file():
    raise MissingFileError(
      f"{workdir} is no workdir of a run (it has no {CONFIG_FILE}); make one with python -m tireid_jax.main "
      f"--workdir={workdir}"
    )
  config = config_lib.from_json(files.read_json(path, _REMEDY))
  former.check_data_set(config.get("data", {}).get("name"))
  return config


def check(workdir: Path, config: ConfigDict, number: int, *, free_fields: Collection[str] = ()) -> None:
  """Raises ValueError with the differences if the workdir holds another model, data set or stage config.

  Fields in `free_fields`, as "stage0/epochs", may differ.
  It also rejects a name that Orbax would expand as a glob pattern: checkpoints would be committed without their arrays.
  """
  if set("*?[") & set(os.fspath(workdir)):
    raise UserError(
      f"--workdir={workdir}: the characters * ? [ are glob patterns to Orbax, which would lose the checkpoints; "
      f"choose a name without them"
    )
  requested = config_lib.to_json(config)
  made = [n for n in config_lib.STAGES if (stage_folder(workdir, n) / CONFIG_FILE).is_file()]
  for other in made:
    there = files.read_json(stage_folder(workdir, other) / CONFIG_FILE, _REMEDY)
    former.check_data_set(there.get("data", {}).get("name"))
    depended_on = [n for n in made if n <= min(other, number)]
    found = config_lib.differences(there, requested, depended_on, free_fields)
    if found:
      more = f" and {len(found) - 3} more" if len(found) > 3 else ""
      raise UserError(
        f"{workdir} holds stage {other} of another run: {'; '.join(found[:3])}{more}; choose another --workdir, or "
        f"request what it has"
      )


def write_config(workdir: str | Path, config: ConfigDict, number: int) -> None:
  """Writes the resolved config to the workdir and to the folder of a stage."""
  data = config_lib.to_json(config)
  files.write_json(stage_folder(workdir, number) / CONFIG_FILE, data)
  path = locations.to_path(workdir, "--workdir") / CONFIG_FILE
  # A later stage may leave `pretrained` empty.
  before = files.read_json(path, _REMEDY)["pretrained"] if path.is_file() else ""
  files.write_json(path, {**data, "pretrained": data["pretrained"] or before})


def write_npz(path: str | Path, arrays: dict[str, Any]) -> None:
  """Writes a compressed npz file atomically."""
  stream = io.BytesIO()
  np.savez_compressed(stream, **arrays)
  files.write_bytes(path, stream.getvalue())
