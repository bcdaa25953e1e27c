"""Exports a stage's encoders for use without this package: a Hugging Face CLIP, its prompts and StableHLO programs.

python -m tireid_jax.export --workdir=W --stage=2 --to=DIR
python -m tireid_jax.export --workdir=W --stage=2 --to=DIR --precision=bfloat16     arithmetic of the programs
python -m tireid_jax.export --workdir=W --stage=2 --to=DIR --weights=float16        half the size
python -m tireid_jax.export --workdir=gs://BUCKET/W --stage=2 --to=gs://BUCKET/DIR
"""

import contextlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tireid_jax import cli
from tireid_jax.errors import UserError, naming
from tireid_jax.exporting import encoders
from tireid_jax.models.clip import CLIP
from tireid_jax.parallel import distributed
from tireid_jax.storage import files, gcs, locations, lock
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import loading

WEIGHTS_FILE, PROMPTS_FILE, README_FILE = "model.safetensors", "prompts.safetensors", "README.md"
# The example program of an exported folder; a source file of the package, so that it is linted and tested.
EXAMPLE, EXAMPLE_FILE = pathlib.Path(encoders.__file__).with_name("example.py"), "use.py"


def main(_: Sequence[str]) -> None:
  options = flags.FLAGS
  if not options.workdir or not options.to:
    raise UserError("give --workdir=DIR of a run and --to=DIR to write")
  distributed.initialize(options)
  export_stage(options.workdir, options.stage, options.to, precision=options.precision, weights=options.weights)


def export_stage(
  run_folder: str | os.PathLike[str],
  stage: str,
  to: str | os.PathLike[str],
  *,
  precision: str = "float32",
  weights: str = "float32",
) -> None:
  """Exports a stage to the folder `to`, atomically. All processes of a run must call it; the first one writes.

  In a bucket, where a folder cannot be created atomically, README.md is written last.

  Args:
    run_folder: workdir of a run.
    stage: "0", "1", "2" or "pretrained".
    to: folder that is empty or does not exist.
    precision: arithmetic of the StableHLO programs, "float32" or "bfloat16".
    weights: dtype of the stored weights, "float32" or "float16"; prompts are float32.

  Raises:
    UserError: if `to` is not empty or is a whole bucket, or the stage cannot be loaded.
    MissingFileError: if there is no such workdir or stage.
  """
  run_folder, folder = distributed.run_on_all(lambda: _check(run_folder, to))
  model, variables, config, _, step = loading.load_stage(run_folder, stage)
  title = f"{config.data.name}, stage {stage}" + (f", step {step}" if step else "")
  create = _new_objects if locations.is_remote(folder) else files.new_folder

  def write_all():
    # The lock is next to the folder, since the folder must be empty.
    with lock.holding(folder.with_name(f".{folder.name}"), f"--to={to}", "give another --to"):
      _check_is_new(folder, to)
      with naming(folder), create(folder) as temporary:
        write(temporary, model, variables, title=title, precision=precision, dtype=weights)

  distributed.run_on_first(write_all)
  log_line(f"wrote {to}: {title}")


def _check(run_folder, to):
  """Returns both as paths; raises UserError or MissingFileError if one of them is invalid."""
  run_folder = locations.check(locations.to_path(run_folder, "--workdir"))
  folder = locations.absolute(locations.check(locations.to_path(to, "--to")))
  if locations.is_remote(folder) and not os.fspath(folder).removeprefix(gcs.SCHEME).partition("/")[2]:
    raise UserError(f"--to={to} is a whole bucket; give gs://BUCKET/FOLDER")
  _check_is_new(folder, to)
  return run_folder, folder


def _check_is_new(folder, to):
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise UserError(f"--to={to} already exists and is not empty; give another folder, or remove it")


@contextlib.contextmanager
def _new_objects(folder: Any) -> Iterator[pathlib.Path]:
  """Yields a temporary local folder and then uploads its files to `folder` in a bucket, README.md last."""
  with tempfile.TemporaryDirectory() as local:
    yield pathlib.Path(local)
    written = sorted(pathlib.Path(local).iterdir(), key=lambda file: (file.name == README_FILE, file.name))
    try:
      for file in written:
        gcs.upload(file, folder / file.name)
    except BaseException:
      with contextlib.suppress(Exception):  # what made the upload fail may make this fail, too
        folder.rmtree()
      raise


def write(
  folder: pathlib.Path,
  model: CLIP,
  variables: Mapping[str, Mapping[str, Any]],
  *,
  title: str,
  precision: str = "float32",
  dtype: str = "float32",
) -> None:
  """Writes all files of an export into an existing folder.

  Args:
    folder: local folder.
    model: with or without prompts.
    variables: {"params": ..., "prompts": ...} of the model.
    title: of the folder's README: data set, stage and step.
    precision: arithmetic of the StableHLO programs, "float32" or "bfloat16".
    dtype: of the stored weights, "float32" or "float16"; prompts are float32.
  """
  weights, prompts = encoders.to_tensors(model, variables, dtype)
  write_clip(folder, model, weights, dtype)
  if prompts:
    save_tensors(prompts, folder / PROMPTS_FILE)
    _log_size(folder / PROMPTS_FILE)
  for encoder in encoders.ENCODERS:
    path = folder / f"{encoder}.stablehlo"
    path.write_bytes(encoders.serialize_encoder(model, variables, encoder, precision, dtype))
    _log_size(path)
  shutil.copyfile(EXAMPLE, folder / EXAMPLE_FILE)
  (folder / README_FILE).write_text(_readme(model, title, precision, bool(prompts)))


def save_tensors(tensors: dict[str, np.ndarray], file: pathlib.Path, *, metadata: dict[str, str] | None = None) -> None:
  """Writes {name: array} as safetensors; turns its errors of the file system, which are only text, into OSError."""
  try:
    save_file(tensors, file, metadata=metadata)
  except SafetensorError as error:
    found = re.search(r"\(os error (\d+)\)", str(error))
    if not found:
      raise
    raise OSError(int(found[1]), os.strerror(int(found[1])), os.fspath(file)) from error


def write_clip(folder: pathlib.Path, model: CLIP, weights: dict[str, np.ndarray], dtype: str = "float32") -> None:
  """Writes the files for transformers: weights by Hugging Face name, and the configs of the model and preprocessor.

  `dtype` is that of the weights.
  """
  save_tensors(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})  # required by transformers
  _log_size(folder / WEIGHTS_FILE)
  files.write_json(folder / "preprocessor_config.json", encoders.preprocessor_config(model))
  reason = encoders.why_no_clip_model(model)
  if reason:
    log_line(f"wrote no config.json, since transformers' CLIPModel cannot represent this model: {reason}")
  else:
    files.write_json(folder / "config.json", encoders.clip_config(model, dtype))


def _log_size(path: pathlib.Path) -> None:
  log_line(f"{path.name}: {path.stat().st_size / 1e6:,.1f} MB")


def _readme(model: CLIP, title: str, precision: str, has_prompts: bool) -> str:
  """Returns the README of an exported folder."""
  variant, (height, width) = model.variant, model.image_size
  reason = encoders.why_no_clip_model(model)
  if reason:
    clip = f"There is no `config.json`: transformers' CLIPModel cannot represent this model: {reason}."
  else:
    clip = (
      f"`transformers.CLIPModel.from_pretrained` reads `config.json` and `{WEIGHTS_FILE}`. Call it with `pixel_values` "
      f"[B, 3, {height}, {width}] and always with `interpolate_pos_encoding=True`: the position embeddings are stored "
      f"as a square grid, from which that option recovers those of {height}x{width} images."
    )
    if has_prompts:
      clip += " CLIPModel does not support prompts, so its embeddings are those of the encoders without them."
  prompts = (
    f"\n- `{PROMPTS_FILE}`: the prompt tokens, f32[blocks, tokens, width] of each encoder" if has_prompts else ""
  )
  prompted = "prompted " if has_prompts else ""
  return f"""# {title}

- `{WEIGHTS_FILE}`: the weights, by Hugging Face name{prompts}
- `image_encoder.stablehlo`, `text_encoder.stablehlo`: the {prompted}encoders, exported by `jax.export` of jax
  {importlib.metadata.version("jax")}, {precision} arithmetic, for {", ".join(encoders.PLATFORMS)}
- `{EXAMPLE_FILE}`: an example that runs them; requires jax, flatbuffers, numpy, pillow and safetensors
- `preprocessor_config.json`: image preprocessing for transformers: resizing that ignores the aspect ratio

An encoder takes a dictionary of its tensors, by their names in the safetensors files, and a batch of any size: uint8
images [B, {height}, {width}, 3] in RGB, or int32 tokens [B, L], L at most {variant.text_length}, with the end token
{variant.end_token}. It returns f32[B, {variant.embedding_size}], not normalised.

{clip}
"""


if __name__ == "__main__":
  flags.DEFINE_string("workdir", "", "workdir of a run, also as gs://BUCKET/FOLDER")
  flags.DEFINE_string("stage", "2", "pretrained, 0, 1 or 2")
  flags.DEFINE_string("to", "", "folder to write, also as gs://BUCKET/FOLDER; must be empty or not exist")
  flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "arithmetic of the StableHLO programs")
  flags.DEFINE_enum(
    "weights", "float32", ["float32", "float16"], "dtype of the stored weights; float16 halves the file"
  )
  distributed.define_flags()
  with distributed.exiting_on_failure():
    cli.run(main)
