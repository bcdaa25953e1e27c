"""The origin of a stage's first variables: recorded with each of its checkpoints, and never changed.

An origin is JSON data, one of

  {"kind": "random", "seed"}
  {"kind": "pretrained", "name", "file", "prefix", "revision", "digest"}    published weights; the hub's revision or ""
  {"kind": "checkpoint", "folder", "stage", "step", "digest", "origin"}     with the origin of that stage itself; the
                                                                            folder "stage1" is of the same workdir

The digest of published weights is the SHA-256 of their file, not of their tensors: the hub and `sha256sum` print the
same digest, and every copy of the file has it. The digest of a checkpoint is `checksum.of_tree` of its variables, since
Orbax writes equal arrays as different files.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.storage import locations
from tireid_jax.training import checksum
from tireid_jax.workdir import checkpoint, layout

# Digits of a digest in a message.
_NUM_SHOWN = 12


def of_random(seed: int) -> dict[str, Any]:
  """Returns the origin of randomly initialised variables."""
  return {"kind": "random", "seed": seed}


def of_weights(name: str | os.PathLike, file: Any, *, prefix: str, revision: str) -> dict[str, Any]:
  """Returns the origin of published weights; reads their files once more.

  Args:
    name: config.pretrained.
    file: models.weights.files.WeightFile, or models.pretrained.Weights.
    prefix: of the tensors that are read.
    revision: of the repository on the hub, or "".
  """
  return {
    "kind": "pretrained",
    "name": name,
    "file": file.path.name,
    "prefix": prefix,
    "revision": revision,
    "digest": digest_of_files(file.shards or [file.path]),
  }


def of_checkpoint(
  folder: str | os.PathLike, step: int, metadata: dict[str, Any], variables: Any, mesh: Mesh
) -> dict[str, Any]:
  """Returns the origin of variables that were restored from a stage's checkpoint.

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


def within(run_folder: str | os.PathLike, origin: dict[str, Any]) -> dict[str, Any]:
  """Returns an origin with a path relative to the workdir, if its folder is in the workdir."""
  top = f"{os.fspath(run_folder).rstrip('/')}/"
  return {**origin, "folder": origin["folder"].removeprefix(top)} if "folder" in origin else origin


def folder_of(run_folder: str | os.PathLike, origin: dict[str, Any]) -> locations.Path:
  """Returns the folder of an origin from `within` that is a checkpoint, on a disk or in a bucket."""
  if locations.is_remote(origin["folder"]) or os.path.isabs(origin["folder"]):
    return locations.to_path(origin["folder"])
  return locations.to_path(os.fspath(run_folder), "--workdir") / origin["folder"]


def digest_of_files(paths: Sequence[str | os.PathLike]) -> str:
  """Returns the SHA-256 of a file; for several files that of the output of `sha256sum`, sorted by name."""
  lines = []
  for path in sorted(map(pathlib.Path, paths)):
    with path.open("rb") as file:
      lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
  return lines[0].split()[0] if len(lines) == 1 else hashlib.sha256("".join(lines).encode()).hexdigest()


def recorded(run_folder: str | os.PathLike) -> dict[str, Any] | None:
  """Returns the metadata of a checkpoint of the first stage in a workdir that began with config.pretrained, or None."""
  for number in config_lib.STAGES:
    folder = layout.stage_folder(run_folder, number)
    if checkpoint.best_step(folder) is not None:
      metadata = checkpoint.newest_readable_metadata(folder)
      if metadata["config"][f"stage{number}"]["init_from"] == "pretrained":
        return metadata
  return None


def with_recorded_name(config: ConfigDict, run_folder: str | os.PathLike) -> ConfigDict:
  """Returns a config that names the pretrained weights as the workdir's first run did, if it used any."""
  found = recorded(run_folder)
  if found is None:
    return config
  data = {**config_lib.to_json(config), "pretrained": found["config"]["pretrained"]}
  return config_lib.from_json({**data, "pretrained_prefix": found["config"].get("pretrained_prefix", "")})


def check_same(found: dict[str, Any], before: dict[str, Any] | None, run_folder: str | os.PathLike) -> None:
  """Raises UserError if the weights that a name refers to are not those that the workdir was started from.

  Args:
    found: origin of the weights that were read now.
    before: recorded origin; None, from a version that did not record any, matches everything.
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
