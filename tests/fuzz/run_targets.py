"""Fuzz targets for our own files: prepared data, a workdir with its checkpoint, and the flags of a command."""

import contextlib
import io
import json
import shutil

import jax
import jax.numpy as jnp
from absl import flags

from configs import custom as custom_config
from tests.data import trees as data_trees
from tests.fuzz.target import Target
from tireid_jax.config import config_file
from tireid_jax.config import values as config_lib
from tireid_jax.data import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.errors import UserError
from tireid_jax.models import variants
from tireid_jax.parallel import sharding
from tireid_jax.storage import files
from tireid_jax.training import preflight, stages
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import checkpoint, layout

_SIZE = (24, 16)
_SMALL = variants.Tower(16, 2, 2)
_VARIANT = variants.Variant(_SMALL, _SMALL, patch_size=8, embedding_size=8, native_image_size=(24, 16))


def _files(folder, pattern="*"):
  return sorted(path for path in folder.rglob(pattern) if path.is_file())


def _replacing(folder, files, read):
  """Returns (run, seeds). An input is the number of a file, as one byte, and the file's new content."""
  original = {file: file.read_bytes() for file in files}

  def run(data):
    file = files[data[0] % len(files)] if data else files[0]
    file.write_bytes(data[1:])
    try:
      with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        read()
    finally:
      file.write_bytes(original[file])

  return run, [bytes([number]) + original[file] for number, file in enumerate(files)]


def _prepare(folder):
  data_trees.make_tree(folder / "raw", "rstp_reid", num_ids={"train": 4, "val": 1, "test": 1})
  return prepare.prepare("rstp_reid", folder / "raw", folder / "data", _SIZE, show_progress=False)


def _prepared():
  """Any file of a prepared data set, read as by a run."""

  def make(folder):
    target = _prepare(folder)

    def read():
      for split in ("train", "val", "test"):
        opened = splits.open_split(folder / "data", "rstp_reid", _SIZE, split)
        splits.check_tokens(
          splits.dataset_info(folder / "data", "rstp_reid", _SIZE), vocabulary_size=49408, end_token=49407,
          text_length=77,
        )  # fmt: skip
        opened.images[:1]

    files = [file for file in _files(target) if not file.name.startswith("report.")]
    return _replacing(folder, files, read)

  return Target(make, (b'"counts"', b'"tokenizer"', b'"image_size"', b"null", b"PK\x01\x02", b"'shape': (3,)", b"|O"))


def _config():
  config = custom_config.get_config()
  config.data.name, config.data.image_size, config.pretrained = "rstp_reid", _SIZE, ""
  config.stage1.init_from = "random"
  config.prompts.depth = 2
  return config


def _workdir():
  """Any file of a workdir with a checkpoint and a result, read as by `evaluate` and a resumed run."""

  def make(folder):
    config, mesh = _config(), sharding.make_mesh(-1, 1, 1)
    variables = {"params": {"kernel": jnp.ones((2, 2))}, "prompts": {}}
    state = TrainState(jnp.int32(1), variables, {"moment": jnp.ones(3)})
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
    layout.write_config(folder, config, 1)
    stage_folder = layout.stage_folder(folder, 1)
    metadata = {
      "config": config_lib.to_json(config), "variant": variants.to_json(_VARIANT), "stage": 1, "step": 1,
      "seconds": 1.0, "score": 1.0, "best_score": 1.0, "dataset": "rstp_reid", "fingerprint": "f",
    }  # fmt: skip
    with checkpoint.Checkpoints(stage_folder) as checkpoints:
      checkpoints.save(state, metadata, 1.0)
    files.write_json(stage_folder / layout.RESULT_FILE, {"stage": 1, "fingerprint": "f", "t2i": {"R@1": 1.0}})

    def read():
      layout.read_config(folder)
      step = checkpoint.best_step(stage_folder)
      if step is None:
        raise UserError("it holds no checkpoint")
      _, metadata = checkpoint.restore_variables(stage_folder, step, mesh)
      stages.from_config(config_lib.from_json(metadata["config"]), 1)
      variants.from_json(metadata["variant"])
      with checkpoint.Checkpoints(stage_folder) as checkpoints:
        checkpoints.restore(shapes)
      layout.check(folder, config, 1)
      layout.read_result(folder, 1)

    shutil.rmtree(stage_folder / "digests")  # otherwise every damage would be detected before the file is read
    return _replacing(folder, _files(folder), read)

  return Target(make, (b'"variant"', b'"config"', b'"tree_metadata"', b'"stage1"', b"null", b"{}", b"[]", b"0.5"))


def _overrides():
  """Flags of `main`, one field and its value per line, up to the checks before a run."""

  def make(folder):
    _prepare(folder)
    fixed = [f"--config.data_dir={folder}/data", "--config.stage1.init_from=random", "--config.stage2.init_from=random",
             "--config.model.variant=tiny", "--config.prompts.depth=2", "--config.data.name=rstp_reid",
             "--config.data.image_size=(24,16)"]  # fmt: skip
    seeds = [f"{name}={value}".encode() for name, value in _flatten(custom_config.get_config())]

    def run(data):
      lines = [line for line in data.decode("utf-8", "replace").split("\n") if line][:8]
      argv = ["main", "--config=custom", *fixed, *(f"--config.{line}" for line in lines)]
      values = flags.FlagValues()
      with contextlib.redirect_stderr(io.StringIO()):
        config = _parse(values, argv)
        numbers = config_lib.stage_numbers(config, "all")
        preflight.check(config, numbers, folder / "run")
        json.dumps(config_lib.to_json(config))

    return run, [b"seed=1", *seeds, b"\n".join(seeds[:5])]

  return Target(make, (b"=", b"(1,2)", b"stage1.", b"stage2.", b"=True", b"=None", b"=inf", b"=nan", b"=-1", b"='a'"))


def _parse(values, argv):
  """Returns the config from flags as the command does; wrong flags raise UserError, as in cli."""
  config_file.define_flag("config", None, "config", flag_values=values)
  try:
    values(argv)
  except Exception as error:
    raise UserError(config_lib.explain_flag_error(error, argv)[:1000]) from error
  return values.config


def _flatten(section, prefix=""):
  for name, value in section.items():
    if hasattr(value, "items"):
      yield from _flatten(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", f"({','.join(map(str, value))})" if isinstance(value, tuple) else value


TARGETS = {"prepared": _prepared(), "workdir": _workdir(), "overrides": _overrides()}
assert jax.default_backend() == "cpu", "run with JAX_PLATFORMS=cpu"
