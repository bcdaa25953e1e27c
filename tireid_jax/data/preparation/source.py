"""The digest of a data set's source, by which a repeated run recognises what is prepared already."""

import dataclasses
import hashlib
import json

from tireid_jax.data.prepared import images, recipe, shards, splits
from tireid_jax.data.raw import schema
from tireid_jax.errors import UserError


def digest(records, problems, image_size, tokenizer, use_exif):
  """Returns a digest of the annotations, their problems, the sizes of the image files, and the settings.

  It distinguishes a repeated run from one on other data without decoding an image. It does not notice a file that was
  replaced by another one of the same size: modification times would, but differ between copies of the same data.
  """
  states = [shards.file_state(record) for record in records]
  entries = [(*shards.annotation(record), state and state[0]) for record, state in zip(records, states, strict=True)]
  how = [schema.VERSION, images.DECODER, list(image_size), tokenizer.name, tokenizer.digest]
  if not use_exif:  # absent by default, so that data prepared before this setting existed keeps its digest
    how.append("without EXIF")
  wrong = [dataclasses.astuple(problem) for problem in problems]
  return hashlib.sha256(json.dumps([*how, entries, wrong]).encode()).hexdigest()


def is_prepared(target, source, skip_bad):
  """Whether `target` holds the data set of that source.

  Raises:
    ValueError: it holds something else, or a data set from which entries were left out, without `skip_bad`.
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
      f"data.use_exif; remove that folder to prepare it again"
    )
  if info["left_out"] and not skip_bad:
    raise UserError(
      f"{target} was prepared with --skip_bad, and {len(info['left_out']):,} entries or images were left out; give "
      f"--skip_bad again to use it as it is, or correct them, remove that folder and prepare it again"
    )
  return True
