"""What a data set is prepared from, as a digest, and whether a prepared folder is already that of it."""

import dataclasses
import hashlib
import json

from tireid_jax.data.prepared import images, recipe, shards, splits
from tireid_jax.data.raw import schema
from tireid_jax.errors import UserError


def digest(records, problems, image_size, tokenizer, use_exif):
  """Returns a digest of the annotations, what is wrong with them, the image files' bytes, and how all is prepared.

  It tells a repeated run from one on other data without decoding an image. It does not see a file replaced by another
  of the same size; times of change would, but differ between copies of the same data.
  """
  states = [shards.file_state(record) for record in records]
  rows = [(*shards.annotation(record), state and state[0]) for record, state in zip(records, states, strict=True)]
  how = [schema.VERSION, images.DECODER, list(image_size), tokenizer.name, tokenizer.digest]
  if not use_exif:  # so that data prepared before there was a choice keeps its digest
    how.append("without EXIF")
  wrong = [dataclasses.astuple(problem) for problem in problems]
  return hashlib.sha256(json.dumps([*how, rows, wrong]).encode()).hexdigest()


def is_prepared(target, source, skip_bad):
  """Tells whether `target` holds the data set of that source; something else there is an error.

  So is a data set from which something is left out, if nothing should be.
  """
  if not target.exists():
    return False
  info_file = target / splits.INFO_FILE
  if not info_file.is_file():
    raise UserError(f"{target} is there but holds no {splits.INFO_FILE}; remove that folder and prepare again")
  info = recipe.read(info_file)
  if info["source"] != source:
    raise UserError(
      f"{target} was prepared from other images or annotations, or with another tokenizer or "
      f"data.use_exif; remove that folder to prepare it anew"
    )
  if info["left_out"] and not skip_bad:
    raise UserError(
      f"{target} was prepared with --skip_bad, and {len(info['left_out']):,} entries or images were left out; give "
      f"--skip_bad again to use it so, or mend them, remove that folder and prepare it anew"
    )
  return True
