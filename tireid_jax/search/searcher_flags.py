"""The flags of the commands that open a Searcher: which model, which gallery, which index."""

from typing import Any

from absl import flags

from tireid_jax.config import config_file
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.search import opening
from tireid_jax.search.gallery import folder_of
from tireid_jax.search.searcher import Searcher
from tireid_jax.storage import locations

_STAGE = "2"


def define() -> None:
  config_file.define_flag("config", None, "with --pretrained: config of the image size, tokenizer and model")
  flags.DEFINE_string("workdir", "", "workdir of a run, also as gs://BUCKET/FOLDER")
  flags.DEFINE_string("stage", None, f"of the run: pretrained, 0, 1 or 2; {_STAGE} by default")
  flags.DEFINE_string(
    "pretrained", "", "CLIP weights instead of a run: a file, a folder, a hub id, toy_clip or an exported folder"
  )
  flags.DEFINE_string("gallery", "", "folder of images")
  flags.DEFINE_string("boxes", "", "CSV of path, x, y, w, h, camera, time: boxes to index instead of whole images")
  flags.DEFINE_string(
    "index", "", "folder of the index, by default below ~/.cache/tireid_jax/search; or milvus:FOLDER.db, milvus:URL"
  )
  flags.DEFINE_enum("dtype", None, ["bfloat16", "float32"], "of a new index; bfloat16 by default")


def check(options: Any) -> None:
  """Raises UserError or MissingFileError if a value of a flag cannot be used; no model is loaded for it."""
  if options.config is not None:
    config_lib.check(options.config)
  if options.pretrained and options.stage not in (None, "pretrained"):
    raise UserError(f"--stage={options.stage} is of a run; leave it out, or give --workdir=DIR instead of --pretrained")
  if options.gallery:
    folder_of(options.gallery)
  locations.local_path(options.boxes, "--boxes")
  opening.check(options.index)


def stage_of(options: Any) -> str:
  """Returns the stage of the run."""
  return options.stage or _STAGE


def open_searcher(options: Any) -> Searcher:
  """Returns the Searcher that the flags name; raises UserError as `Searcher.open`."""
  if options.config is not None:
    config_file.print_sources()
  return Searcher.open(
    workdir=options.workdir, stage=stage_of(options), pretrained=options.pretrained, config=options.config,
    gallery=options.gallery, index=options.index, dtype=options.dtype or "",
  )  # fmt: skip
