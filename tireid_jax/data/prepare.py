"""Prepares a raw data set: images decoded and resized once, captions tokenized once, everything checked.

    python -m tireid_jax.data.prepare --config=configs/cuhk.py --raw=DIR

DIR is the data set's raw folder or the one that holds it. The result is config.data_dir/NAME/HxW/VERSION, which appears
whole or not at all.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import typing

import tensorflow_datasets as tfds
from absl import flags

from tireid_jax import progress
from tireid_jax.data import builders, prepared, schema
from tireid_jax.data.tokenizer import MAX_LENGTH, load_tokenizer

# Distributions whose versions may show in the prepared pixels and tokens.
_LIBRARIES = (
  "tensorflow-datasets", "array_record", "pillow", "ftfy", "instant-clip-tokenizer", "tokenizers", "transformers",
  "numpy",
)  # fmt: skip

_CHUNK = 64


def prepare(name, raw_dir, data_dir, image_size, *, tokenizer="", show_progress=True):
  """Prepares a raw data set below `data_dir`, unless that is done already, and returns its folder.

  Args:
    name: of the data set, as config.data.name.
    raw_dir: its raw folder, or the folder that holds it.
    data_dir: folder of prepared data sets.
    image_size: (h, w) pixels to resize to.
    tokenizer: as config.data.tokenizer.
    show_progress: shows progress bars, and a table of counts at the end.

  Raises:
    FileNotFoundError: the annotation file, images or the tokenizer are not there.
    ValueError: entries or images are unusable, or the target holds something else. Nothing is written then.
  """
  layout = schema.layout_of(name)
  target = prepared.prepared_path(data_dir, name, image_size)
  tokenizer = load_tokenizer(tokenizer)
  records = schema.read_annotations(layout, raw_dir)
  source = _source_digest(records, image_size, tokenizer)
  home = target.parent.parent
  home.mkdir(parents=True, exist_ok=True)
  with _alone(home):
    state = "prepared already"
    if not _is_prepared(target, source):
      state = "prepared"
      work = home / f".preparing-{target.parent.name}"  # beside the target, so that the last step is a rename
      shutil.rmtree(work, ignore_errors=True)
      try:
        built = builders.build(name, raw_dir, work, image_size, show_progress=show_progress)
        _complete(built, name, image_size, tokenizer, source, show_progress)
        target.parent.mkdir(exist_ok=True)
        built.rename(target)
      finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError):
          home.rmdir()  # only if nothing is in it
  if show_progress:
    print(f"{target}: {state}\n{summary(layout, target)}")
  return target


def summary(layout, target):
  """Returns a table of what a prepared data set holds, beside the published counts."""
  info = json.loads((target / prepared.INFO_FILE).read_text())
  columns = ("ids", "images", "captions")
  lines = [f"{'split':7}" + "".join(f"{column + ' (published)':>24}" for column in columns) + f"{'captions cut':>14}"]
  for split, counts in info["counts"].items():
    published = layout.published.get(split)
    cells = [f"{counts[column]:,} ({getattr(published, column, '-'):,})" for column in columns if published]
    cells = cells or [f"{counts[column]:,} (-)" for column in columns]
    cut = f"{info['truncated_captions'][split]:,}"
    lines.append(f"{split:7}" + "".join(f"{cell:>24}" for cell in cells) + f"{cut:>14}")
  lines += [f"{split:7}{'missing':>24}" for split in layout.published if split not in info["counts"]]
  if layout.published and info["first_id"] != layout.first_id:
    lines.append(f"the smallest id is {info['first_id']}, in the published file it is {layout.first_id}")
  used = sum(file.stat().st_size for file in target.iterdir())
  lines.append(
    f"{used / 2**20:,.1f} MiB on disk, fingerprint {info['fingerprint'][:12]}, tokenizer "
    f"{info['tokenizer']['name'] or 'of CLIP'} with {info['tokenizer']['vocabulary_size']:,} ids"
  )
  return "\n".join(lines)


def main(argv):
  """Prepares the data set of --config from --raw."""
  del argv
  config, raw = flags.FLAGS.config, flags.FLAGS.raw
  if config is None or not raw:
    missing = "--config is missing; give it a file like configs/cuhk.py"
    raise ValueError(missing if config is None else "--raw is missing; give it the folder that the data set lies in")
  data = config.data
  prepare(data.name, raw, config.data_dir, tuple(data.image_size), tokenizer=data.tokenizer)


def _complete(folder, name, image_size, tokenizer, source, show_progress):
  """Reads a built data set back, and writes its index and, last, what is known of it."""
  builder = tfds.builder_from_directory(folder)
  counts, truncated, first_ids = {}, {}, []
  fingerprint = hashlib.sha256(json.dumps([name, list(image_size), schema.VERSION, tokenizer.digest]).encode())
  num_images = sum(split.num_examples for split in builder.info.splits.values())
  with progress.bar(total=num_images, desc=f"check {name}", unit="image", disable=not show_progress) as bar:
    for split in (split for split in schema.SPLITS if split in builder.info.splits):
      index, digest = _index(builder.as_data_source(split), tokenizer, bar)
      prepared.write_index(folder, split, **index)
      fingerprint.update(digest)
      ids = set(index["person_id"])
      counts[split] = schema.Counts(len(ids), len(index["file_paths"]), len(index["captions"]))._asdict()
      truncated[split] = int((tokenizer.num_tokens(index["captions"]) > MAX_LENGTH).sum())
      first_ids.append(min(ids))
  info = {
    "name": name,
    "version": schema.VERSION,
    "image_size": list(image_size),
    "tokenizer": {
      "name": tokenizer.name,
      "vocabulary_size": tokenizer.vocabulary_size,
      "end_token": tokenizer.end_token,
    },
    "counts": counts,
    "first_id": min(first_ids),
    "truncated_captions": truncated,
    "fingerprint": fingerprint.hexdigest(),
    "source": source,
    "libraries": {library: importlib.metadata.version(library) for library in _LIBRARIES},
  }
  (folder / prepared.INFO_FILE).write_text(json.dumps(info, indent=2) + "\n")


def _index(source, tokenizer, bar):
  """Returns the index of a split's records, for `prepared.write_index`, and a digest of all that they hold."""
  digest = hashlib.sha256()
  index: dict[str, typing.Any] = {"person_id": [], "caption_image": [], "captions": [], "file_paths": []}
  for start in range(0, len(source), _CHUNK):
    records = source.__getitems__(list(range(start, min(start + _CHUNK, len(source)))))
    for row, record in enumerate(records, start):
      captions = [caption.decode() for caption in record["captions"]]
      index["person_id"].append(int(record["person_id"]))
      index["file_paths"].append(record["file_path"].decode())
      index["captions"] += captions
      index["caption_image"] += [row] * len(captions)
      digest.update(record["image"].tobytes())
    bar.update(len(records))
  digest.update(json.dumps(index).encode())
  index["tokens"] = tokenizer(index["captions"])
  digest.update(index["tokens"].tobytes())
  return index, digest.digest()


def _source_digest(records, image_size, tokenizer):
  """Returns a digest of the annotations, the image files' sizes in bytes, and how both are prepared.

  It tells a repeated run from one on other data without decoding an image. It does not see a file replaced by another
  of the same size; times of change would, but differ between copies of the same data.
  """
  rows = [(r.split, r.person_id, r.file_path, r.captions, r.image_file.stat().st_size) for r in records]
  how = [schema.VERSION, list(image_size), tokenizer.name, tokenizer.digest]
  return hashlib.sha256(json.dumps([*how, rows]).encode()).hexdigest()


def _is_prepared(target, source):
  """Tells whether `target` holds the data set of that source; something else there is an error."""
  if not target.exists():
    return False
  info_file = target / prepared.INFO_FILE
  if not info_file.is_file():
    raise ValueError(f"{target} is there but holds no {prepared.INFO_FILE}; remove that folder and prepare again")
  if json.loads(info_file.read_text())["source"] != source:
    raise ValueError(
      f"{target} was prepared from other images or annotations, or with another tokenizer; remove that folder to "
      f"prepare it anew"
    )
  return True


@contextlib.contextmanager
def _alone(folder):
  """Keeps a second process from preparing in `folder` at the same time; a killed one does not block the next."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(f"another process is preparing a data set in {folder}; wait for it to end") from error
    except OSError:
      pass  # a file system without locks
    yield
  finally:
    os.close(descriptor)


if __name__ == "__main__":
  from ml_collections import config_flags

  from tireid_jax import cli

  config_flags.DEFINE_config_file("config", None, "Config file; its data.name, data.image_size and data_dir are used.")
  flags.DEFINE_string("raw", None, "Folder of the raw data set, or the folder that holds it.")
  cli.run(main)
