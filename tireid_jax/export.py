"""Writes a stage's encoders for use without this package: a Hugging Face CLIP, its prompts, and StableHLO programs.

python -m tireid_jax.export --workdir=W --stage=2 --to=DIR
python -m tireid_jax.export --workdir=W --stage=2 --to=DIR --precision=bfloat16     the programs' arithmetic
python -m tireid_jax.export --workdir=gs://BUCKET/W --stage=2 --to=gs://BUCKET/DIR
"""

import contextlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import tempfile

from absl import flags
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tireid_jax import cli
from tireid_jax.errors import UserError, naming
from tireid_jax.exporting import encoders
from tireid_jax.parallel import distributed
from tireid_jax.storage import files, gcs, locations, lock
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import loading

WEIGHTS_FILE, PROMPTS_FILE, README_FILE = "model.safetensors", "prompts.safetensors", "README.md"
# The program that shows how the folder is used; it stays here as source so that the linter and the tests see it.
EXAMPLE, EXAMPLE_FILE = pathlib.Path(encoders.__file__).with_name("example.py"), "use.py"


def main(_):
  options = flags.FLAGS
  if not options.workdir or not options.to:
    raise UserError("give --workdir=DIR of a run and --to=DIR to write")
  distributed.initialize(options)
  export_stage(options.workdir, options.stage, options.to, precision=options.precision)


def export_stage(run_folder, stage, to, *, precision="float32"):
  """Writes the folder `to`, whole or not at all. Every process of a run calls it alike; the first one writes.

  In a bucket, where a folder cannot appear at once, its README.md is written last.

  Args:
    run_folder: workdir.
    stage: "0", "1", "2" or "pretrained".
    to: folder that is empty or not there.
    precision: arithmetic of the StableHLO programs, "float32" or "bfloat16".
  """
  run_folder, folder = distributed.run_on_all(lambda: _check(run_folder, to))
  model, variables, config, _, step = loading.load_stage(run_folder, stage)
  title = f"{config.data.name}, stage {stage}" + (f", step {step}" if step else "")
  create = _new_objects if locations.is_remote(folder) else files.new_folder

  def write_all():
    # Beside the folder, which must be empty.
    with lock.holding(folder.with_name(f".{folder.name}"), f"--to={to}", "give another --to"):
      _check_is_new(folder, to)
      with naming(folder), create(folder) as temporary:
        write(temporary, model, variables, title=title, precision=precision)

  distributed.run_on_first(write_all)
  log_line(f"wrote {to}: {title}")


def _check(run_folder, to):
  """Returns both as paths; raises ValueError or FileNotFoundError if nothing can be written to `to`."""
  run_folder = locations.check(locations.to_path(run_folder, "--workdir"))
  folder = locations.absolute(locations.check(locations.to_path(to, "--to")))
  if locations.is_remote(folder) and not os.fspath(folder).removeprefix(gcs.SCHEME).partition("/")[2]:
    raise UserError(f"--to={to} is a whole bucket; give gs://BUCKET/FOLDER")
  _check_is_new(folder, to)
  return run_folder, folder


def _check_is_new(folder, to):
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise UserError(f"--to={to} is there already and not empty; give another folder, or remove it")


@contextlib.contextmanager
def _new_objects(folder):
  """Yields a local folder, whose files are then copied to `folder` in a bucket, README.md last."""
  with tempfile.TemporaryDirectory() as local:
    yield pathlib.Path(local)
    written = sorted(pathlib.Path(local).iterdir(), key=lambda file: (file.name == README_FILE, file.name))
    try:
      for file in written:
        gcs.upload(file, folder / file.name)
    except BaseException:
      with contextlib.suppress(Exception):  # whatever stopped the copy may stop this, too
        folder.rmtree()
      raise


def write(folder, model, variables, *, title, precision="float32"):
  """Writes every file of an export into a folder that is there.

  Args:
    folder: pathlib.Path.
    model: CLIP module.
    variables: {"params": ..., "prompts": ...}.
    title: of the folder's README: whose weights these are.
    precision: arithmetic of the StableHLO programs, "float32" or "bfloat16".
  """
  weights, prompts = encoders.to_tensors(model, variables)
  write_clip(folder, model, weights)
  if prompts:
    save_tensors(prompts, folder / PROMPTS_FILE)
    _tell(folder / PROMPTS_FILE)
  for encoder in encoders.ENCODERS:
    path = folder / f"{encoder}.stablehlo"
    path.write_bytes(encoders.serialize_encoder(model, variables, encoder, precision))
    _tell(path)
  shutil.copyfile(EXAMPLE, folder / EXAMPLE_FILE)
  (folder / README_FILE).write_text(_readme(model, title, precision, bool(prompts)))


def save_tensors(tensors, file, *, metadata=None):
  """Writes {name: array} as safetensors; raises OSError where safetensors says it in words alone."""
  try:
    save_file(tensors, file, metadata=metadata)
  except SafetensorError as error:
    found = re.search(r"\(os error (\d+)\)", str(error))
    if not found:
      raise
    raise OSError(int(found[1]), os.strerror(int(found[1])), os.fspath(file)) from error


def write_clip(folder, model, weights):
  """Writes what transformers reads: weights by Hugging Face's names, and the configs of model and images."""
  save_tensors(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})  # without it transformers refuses the file
  _tell(folder / WEIGHTS_FILE)
  files.write_json(folder / "preprocessor_config.json", encoders.preprocessor_config(model))
  reason = encoders.why_no_clip_model(model)
  if reason:
    log_line(f"no config.json is written, for transformers' CLIPModel cannot be this model: {reason}")
  else:
    files.write_json(folder / "config.json", encoders.clip_config(model))


def _tell(path):
  log_line(f"{path.name}: {path.stat().st_size / 1e6:,.1f} MB")


def _readme(model, title, precision, has_prompts):
  """Returns the README of an exported folder."""
  variant, (height, width) = model.variant, model.image_size
  reason = encoders.why_no_clip_model(model)
  if reason:
    clip = f"There is no `config.json`: transformers' CLIPModel cannot be this model, since {reason}."
  else:
    clip = (
      f"`transformers.CLIPModel.from_pretrained` reads `config.json` and `{WEIGHTS_FILE}`. Call it with `pixel_values` "
      f"[B, 3, {height}, {width}] and `interpolate_pos_encoding=True`, always: the position table is stored as a "
      f"square, from which that call gets the table of {height}x{width} images back."
    )
    if has_prompts:
      clip += " CLIPModel knows no prompts, so its embeddings are those of the encoders without them."
  prompts = (
    f"\n- `{PROMPTS_FILE}`: the prompt tokens, f32[blocks, tokens, width] of each encoder" if has_prompts else ""
  )
  prompted = "prompted " if has_prompts else ""
  return f"""# {title}

- `{WEIGHTS_FILE}`: the weights, by Hugging Face's names{prompts}
- `image_encoder.stablehlo`, `text_encoder.stablehlo`: the {prompted}encoders, by `jax.export` of jax
  {importlib.metadata.version("jax")}, {precision} arithmetic, for {", ".join(encoders.PLATFORMS)}
- `{EXAMPLE_FILE}`: runs them; needs jax, flatbuffers, numpy, pillow and safetensors
- `preprocessor_config.json`: how images are made, for transformers: resized without regard to their aspect

An encoder takes a dictionary of its tensors, as they are in the safetensors files, and a batch of any size: uint8
images [B, {height}, {width}, 3] in RGB, or int32 tokens [B, L], L at most {variant.text_length}, with the end token
{variant.end_token}. It returns f32[B, {variant.embedding_size}], not normalised.

{clip}
"""


if __name__ == "__main__":
  flags.DEFINE_string("workdir", "", "workdir of a run, also as gs://BUCKET/FOLDER")
  flags.DEFINE_string("stage", "2", "pretrained, 0, 1 or 2")
  flags.DEFINE_string("to", "", "folder to write, also as gs://BUCKET/FOLDER; it must be empty or not there")
  flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "arithmetic of the StableHLO programs")
  distributed.define_flags()
  with distributed.exiting_on_failure():
    cli.run(main)
