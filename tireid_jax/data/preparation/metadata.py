"""Writes all of a prepared data set but its images: the index of each split, the reports and dataset.json."""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from tireid_jax.config import paths
from tireid_jax.data.checks import doctor, doctor_page
from tireid_jax.data.prepared import images, shards, split_files, splits
from tireid_jax.data.raw import schema
from tireid_jax.data.tokenizer import MAX_LENGTH, Tokenizer

# Packages whose versions may affect the prepared pixels and tokens.
_LIBRARIES = (
  "tensorflow-datasets", "array_record", "pillow", "ftfy", "regex", "tokenizers", "transformers", "numpy",
)  # fmt: skip


def complete(
  folder: pathlib.Path,
  name: str,
  written: Sequence[shards.Shard],
  image_size: tuple[int, int],
  tokenizer: Tokenizer,
  *,
  source: str,
  report: doctor.Report,
  pictures: Sequence[doctor_page.Picture],
) -> None:
  """Completes a built data set with its indices, its reports and, last, its dataset.json.

  Args:
    folder: the data set's, as returned by `builders.build`.
    name: name of the data set, as in `config.data.name`.
    written: all shards, those of each split in order.
    image_size: (h, w) pixels.
    tokenizer: encodes the captions.
    source: digest of the raw data, from `source.digest`.
    report: report on the raw data.
    pictures: pictures for the HTML report.
  """
  counts: dict[str, dict] = {}
  truncated = {}
  persons: dict[int, str] = {}
  # The order and the names of these parts must not change: prepared folders store the fingerprint.
  recipe_fields = [name, list(image_size), schema.VERSION, images.DECODER, tokenizer.digest]
  fingerprint = hashlib.sha256(json.dumps(recipe_fields).encode())
  for split in schema.SPLITS:
    stored = [image for shard in written if shard.split == split for image in shard.images]
    if not stored:
      continue
    captions = [caption for image in stored for caption in image.record.captions]
    tokens = tokenizer(captions)
    _write_index(folder, split, stored, captions, tokens)
    content = [(*shards.annotation(image.record), image.digest) for image in stored]
    fingerprint.update(json.dumps(content).encode())
    fingerprint.update(tokens.tobytes())
    counts |= {name: count._asdict() for name, count in schema.count([image.record for image in stored]).items()}
    truncated[split] = int((tokenizer.num_tokens(captions) > MAX_LENGTH).sum())
    persons |= {image.record.person_id: image.record.person for image in stored if image.record.person}
  num_bytes = sum(file.stat().st_size for file in folder.iterdir())
  report = dataclasses.replace(report, num_bytes=num_bytes)
  (folder / splits.REPORT_FILE).write_text(report.text() + "\n", encoding="utf-8")
  doctor_page.write_html(folder / splits.REPORT_PAGE, report, pictures)
  info = {
    "name": name,
    "version": schema.VERSION,
    "image_size": list(image_size),
    "tokenizer": {
      "name": paths.resolve(tokenizer.name),
      "vocabulary_size": tokenizer.vocabulary_size,
      "end_token": tokenizer.end_token,
    },
    "counts": counts,
    "truncated_captions": truncated,
    "persons": persons,  # annotated names by identity, where the annotations name identities by text
    "report": report.to_json(),
    "left_out": [dataclasses.asdict(problem) for problem in report.problems if problem.is_error],
    "fingerprint": fingerprint.hexdigest(),
    "source": source,
    "libraries": {library: importlib.metadata.version(library) for library in _LIBRARIES},
  }
  (folder / splits.INFO_FILE).write_text(json.dumps(info, indent=2) + "\n")


def _write_index(
  folder: pathlib.Path,
  split: str,
  stored: Sequence[shards.StoredImage],
  captions: list[str],
  tokens: Int[np.ndarray, "num_captions 77"],
) -> None:
  """Writes the index of one split: its images and their captions, with tokens."""
  split_files.write_index(
    folder,
    split,
    tokens=tokens,
    texts={
      "captions": captions,
      "file_paths": [image.record.file_path for image in stored],
      "cameras": [image.record.camera for image in stored],
      "times": [image.record.time for image in stored],
    },
    person_id=np.array([image.record.person_id for image in stored], np.int32),
    caption_image=np.repeat(np.arange(len(stored), dtype=np.int32), [len(image.record.captions) for image in stored]),
    position=np.array([image.position for image in stored], np.int64),
    size=np.array([image.size for image in stored], np.int32),
    digest=np.array([image.digest for image in stored]),
  )
