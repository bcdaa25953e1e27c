"""Where a stage's first weights came from: recorded with each of its checkpoints, and never changed.

An origin is JSON data, one of

  {"kind": "random", "seed"}
  {"kind": "pretrained", "name", "file", "prefix", "revision", "digest"}    published weights; the hub's revision or ""
  {"kind": "checkpoint", "folder", "stage", "step", "digest", "origin"}     with the origin of that stage itself; the
                                                                            folder "stage1" is of the same workdir

The digest of published weights is of their files, not of their tensors: it is the file's SHA-256, which the hub and
`sha256sum` print as well, and needs nothing but the file. It is of all bytes, and so equal wherever a copy lies. The
digest of a checkpoint is `checksum.of_tree` of its variables, since Orbax writes equal arrays as different files.
"""

import hashlib
import os
import pathlib

from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.training import checksum
from tireid_jax.workdir import checkpoint, layout

# Digits of a digest that a message shows.
_NUM_SHOWN = 12


def of_random(seed):
  """Returns the origin of weights that were drawn."""
  return {"kind": "random", "seed": seed}


def of_weights(name, file, *, prefix, revision):
  """Returns the origin of published weights; reads their files once more.

  Args:
    name: as config.pretrained.
    file: models.weights.files.WeightFile, or models.pretrained.Weights.
    prefix: of the tensors that are taken.
    revision: of the hub's repository, or "".
  """
  return {
    "kind": "pretrained",
    "name": name,
    "file": file.path.name,
    "prefix": prefix,
    "revision": revision,
    "digest": digest_of_files(file.shards or [file.path]),
  }


def of_checkpoint(folder, step, metadata, variables, mesh):
  """Returns the origin of weights that were restored from a stage's checkpoint.

  Args:
    folder: of the stage.
    step, metadata, variables: of the checkpoint.
    mesh: that the variables are on.
  """
  return {
    "kind": "checkpoint",
    "folder": str(folder),
    "stage": metadata["stage"],
    "step": step,
    "digest": checksum.of_tree(mesh, variables),
    "origin": metadata.get("origin"),
  }


def within(run_folder, origin):
  """Returns an origin whose folder, if it is in this workdir, is named by its path in there."""
  top = f"{os.fspath(run_folder).rstrip('/')}/"
  return {**origin, "folder": origin["folder"].removeprefix(top)} if "folder" in origin else origin


def digest_of_files(paths):
  """Returns the SHA-256 of a file; of several, that of what `sha256sum` prints of them in order of name."""
  lines = []
  for path in sorted(map(pathlib.Path, paths)):
    with path.open("rb") as file:
      lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
  return lines[0].split()[0] if len(lines) == 1 else hashlib.sha256("".join(lines).encode()).hexdigest()


def recorded(run_folder):
  """Returns the metadata of a checkpoint of the first stage in a workdir that began with config.pretrained, or None."""
  for number in config_lib.STAGES:
    folder = layout.stage_folder(run_folder, number)
    if checkpoint.best_step(folder) is not None:
      metadata = checkpoint.newest_readable_metadata(folder)
      if metadata["config"][f"stage{number}"]["init_from"] == "pretrained":
        return metadata
  return None


def with_recorded_name(config, run_folder):
  """Returns a config whose pretrained weights have the name by which the workdir's were read, if any were."""
  found = recorded(run_folder)
  if found is None:
    return config
  data = {**config_lib.to_json(config), "pretrained": found["config"]["pretrained"]}
  return config_lib.from_json({**data, "pretrained_prefix": found["config"].get("pretrained_prefix", "")})


def check_same(found, before, run_folder):
  """Raises ValueError if the weights that a name stands for are not those that a workdir's run began with.

  Args:
    found: origin of what was read now.
    before: origin that the run recorded; None, of a version that recorded none, is equal to all.
    run_folder: workdir, for the message.
  """
  if before is None or (found["kind"], found["digest"]) == (before["kind"], before["digest"]):
    return
  raise UserError(
    f"{run_folder} was started from {_described(before)}, but {_described(found)} holds other weights; give the same "
    f"weights, or choose another --workdir"
  )


def _described(origin):
  name = origin.get("name") or origin.get("folder") or "random weights"
  revision = f"revision {origin['revision'][:_NUM_SHOWN]}, " if origin.get("revision") else ""
  return f"{name} ({revision}digest {origin['digest'][:_NUM_SHOWN]})" if "digest" in origin else name
