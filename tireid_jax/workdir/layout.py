"""What lies where in a workdir, and whether it belongs to the run that asks for it."""

import contextlib
import io
import os

import numpy as np

from tireid_jax.config import former
from tireid_jax.config import values as config_lib
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.parallel import distributed
from tireid_jax.storage import files, locations, lock

CONFIG_FILE = "config.json"
RESULT_FILE = "result.json"
# Ranks and precisions of every query of the test split.
RANKS_FILE = "ranks_test.npz"

# Of a damaged file of the above.
_REMEDY = "put back a copy of it, or remove it and run the same command again, which writes it"


def stage_folder(workdir, number):
  """Returns WORKDIR/stageN."""
  return locations.to_path(workdir, "--workdir") / f"stage{number}"


@contextlib.contextmanager
def locked(workdir):
  """Yields a lock.Lock on a workdir, of which process 0 keeps others out; every process of a run calls it alike.

  Raises:
    ValueError: another run is at work there; it says who.
  """
  kept = lock.Lock(workdir, f"--workdir={workdir}", "choose another --workdir")
  try:
    while not distributed.broadcast_from_first(kept.acquire):
      pass
    yield kept
  finally:
    kept.release()


def read_result(workdir, number):
  """Returns the result of a finished stage, or None."""
  path = stage_folder(workdir, number) / RESULT_FILE
  return files.read_json(path, _REMEDY) if path.is_file() else None


def read_config(workdir):
  """Returns the config that the workdir's newest run wrote.

  Raises:
    FileNotFoundError: if there is none.
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


def check(workdir, config, number):
  """Raises ValueError, showing the difference, if the workdir holds another model, data set or config of a stage.

  So does a name in which Orbax would look for a pattern: it would commit checkpoints without their arrays.
  """
  if set("*?[") & set(os.fspath(workdir)):
    raise UserError(
      f"--workdir={workdir}: the characters * ? [ are patterns to Orbax, which would lose the checkpoints; choose a "
      f"name without them"
    )
  asked = config_lib.to_json(config)
  made = [n for n in config_lib.STAGES if (stage_folder(workdir, n) / CONFIG_FILE).is_file()]
  for other in made:
    there = files.read_json(stage_folder(workdir, other) / CONFIG_FILE, _REMEDY)
    former.check_data_set(there.get("data", {}).get("name"))
    depended_on = [n for n in made if n <= min(other, number)]
    found = config_lib.differences(there, asked, depended_on)
    if found:
      more = f" and {len(found) - 3} more" if len(found) > 3 else ""
      raise UserError(
        f"{workdir} holds stage {other} of another run: {'; '.join(found[:3])}{more}; choose another --workdir, or ask "
        f"for what is there"
      )


def write_config(workdir, config, number):
  """Writes the resolved config into the workdir and the stage's folder."""
  data = config_lib.to_json(config)
  files.write_json(stage_folder(workdir, number) / CONFIG_FILE, data)
  path = locations.to_path(workdir, "--workdir") / CONFIG_FILE
  # A later stage need not say again where the weights came from.
  before = files.read_json(path, _REMEDY)["pretrained"] if path.is_file() else ""
  files.write_json(path, {**data, "pretrained": data["pretrained"] or before})


def write_npz(path, arrays):
  """Writes a compressed npz so that a reader sees the whole file or none."""
  stream = io.BytesIO()
  np.savez_compressed(stream, **arrays)
  files.write_bytes(path, stream.getvalue())
