"""Prepares a raw data set: images decoded and resized once, captions tokenized once, everything checked.

    python -m tireid_jax.data.prepare --config=configs/cuhk.py --raw=DIR [--skip_bad] [--page=REPORT.html]

DIR is the data set's raw folder or the one that holds it. The result is config.data_dir/NAME/HxW/VERSION, which appears
whole or not at all, with a report on the data: report.txt and, with pictures, report.html. A run that was killed goes
on where it was: what it had decoded waits in a hidden folder beside the result. It takes about a fifth of a gibibyte of
memory, whatever the size of the data set, and its captions.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import shutil

import numpy as np
from absl import flags

from tireid_jax.config import config_file, paths
from tireid_jax.data.checks import doctor, doctor_page
from tireid_jax.data.datasets import custom, registry
from tireid_jax.data.prepared import builders, images, recipe, shards, split_files, splits
from tireid_jax.data.raw import schema
from tireid_jax.data.raw.problems import by_kind
from tireid_jax.data.tokenizer import MAX_LENGTH, load_tokenizer
from tireid_jax.errors import UserError, naming
from tireid_jax.storage import locations, lock

# Distributions whose versions may show in the prepared pixels and tokens.
_LIBRARIES = (
  "tensorflow-datasets", "array_record", "pillow", "ftfy", "regex", "tokenizers", "transformers", "numpy",
)  # fmt: skip

# Of problems for which nothing is prepared, so many are named.
_NUM_NAMED = 10


def prepare(
  name, raw_dir, data_dir, image_size, *, tokenizer="", settings=None, use_exif=True, skip_bad=False, page="",
  show_progress=True,
):  # fmt: skip
  """Prepares a raw data set below `data_dir`, unless that is done already, and returns its folder.

  Args:
    name: of the data set, as config.data.name.
    raw_dir: its raw folder, or the folder that holds it.
    data_dir: folder of prepared data sets.
    image_size: (h, w) pixels to resize to.
    tokenizer: as config.data.tokenizer.
    settings: config.custom, of custom data.
    use_exif: as config.data.use_exif.
    skip_bad: leaves out entries and images that cannot be used, and records them in the prepared data set.
    page: HTML file for the report, also of a data set that cannot be prepared as it is.
    show_progress: shows progress bars, and the report at the end.

  Raises:
    FileNotFoundError: the annotation file or the tokenizer is not there.
    ValueError: without `skip_bad`, entries or images cannot be used; or the target holds something else, or the disk
      is too full. Nothing is written then but `page`, and what was decoded is dropped.
  """
  page = page and locations.local_path(page, "--page")
  raw_data = registry.find(name, raw_dir, settings)
  target = splits.prepared_path(data_dir, name, image_size)
  tokenizer = load_tokenizer(tokenizer)
  problems: list = []
  records = raw_data.read(problems=problems)
  source = _source_digest(records, problems, image_size, tokenizer, use_exif)
  home = target.parent.parent
  if page:
    with naming(page):
      page.absolute().parent.mkdir(parents=True, exist_ok=True)
  with naming(target), lock.holding(home, home, "give another --config.data_dir"):
    state = "prepared already"
    if not _is_prepared(target, source, skip_bad):
      state = "prepared"
      with _work_folder(home / f".preparing-{target.parent.name}") as work:  # beside the target, to be renamed to it
        plan = shards.Plan(records, image_size, work / "shards", use_exif=use_exif)
        doctor.check_space(home, plan.num_bytes)
        written, faults = plan.write(name=name, show_progress=show_progress)
        rows = [row for shard in written for row in shard.rows]
        sibling = doctor.prepared_sibling(data_dir, name)
        report = _examine(raw_data.layout, rows, problems + faults, tokenizer, sibling)
        pictures = doctor_page.take_pictures(report, [row.record for row in rows], raw_data.images)
        if (report.num_errors and not skip_bad) or not rows:
          _refuse(raw_data, report, pictures, page, show_progress)
        shutil.rmtree(work / name, ignore_errors=True)  # of a run that was killed while it packed
        built = builders.build(name, written, work, image_size)
        _complete(built, name, written, image_size, tokenizer, source=source, report=report, pictures=pictures)
        target.parent.mkdir(exist_ok=True)
        built.rename(target)
  if page:
    with naming(page):
      shutil.copyfile(target / splits.REPORT_PAGE, page)
  if show_progress:
    print((target / splits.REPORT_FILE).read_text(encoding="utf-8"))
    print(f"{target}: {state}\n{_summary(target)}")
  return target


def _examine(layout, rows, problems, tokenizer, sibling):
  """Returns the Report of decoded images and of what is wrong."""
  captions = [caption for row in rows for caption in row.record.captions]
  return doctor.examine(
    layout, [row.record for row in rows], problems, caption_lengths=tokenizer.num_tokens(captions),
    image_sizes=[row.size for row in rows], image_digests=[row.digest for row in rows], sibling=sibling,
  )  # fmt: skip


def _refuse(raw_data, report, pictures, page, show_progress):
  """Shows the report of a data set that cannot be prepared as it is, and raises ValueError."""
  if page:
    with naming(page):
      doctor_page.write_html(page, report, pictures)
  if show_progress:
    print(report.text())
  bad = [problem for problem in report.problems if problem.is_error]
  if not report.counts:
    raise UserError(f"{raw_data.annotations} names no image that can be used: {bad[0]}")
  kinds = ", ".join(f"{len(group):,} {kind}" for kind, group in by_kind(bad).items())
  named = "; ".join(map(str, bad[:_NUM_NAMED])) + ("; ..." if len(bad) > _NUM_NAMED else "")
  raise UserError(f"{raw_data.annotations}: {kinds}: {named}. Mend them, or give --skip_bad to leave them out")


def _summary(target):
  """Returns a line on a prepared data set."""
  info = recipe.read(target / splits.INFO_FILE)
  tokenizer, left_out = info["tokenizer"], len(info["left_out"])
  return (
    f"fingerprint {info['fingerprint'][:12]}, tokenizer {tokenizer['name'] or 'of CLIP'} with "
    f"{tokenizer['vocabulary_size']:,} ids" + (f", {left_out:,} entries or images left out" if left_out else "")
  )


def main(argv):
  """Prepares the data set of --config from --raw."""
  del argv
  config, raw = flags.FLAGS.config, flags.FLAGS.raw
  if config is None or not raw:
    missing = "--config is missing; give it a file like configs/cuhk.py"
    raise UserError(missing if config is None else "--raw is missing; give it the folder that the data set lies in")
  config_file.print_sources()
  data = config.data
  prepare(
    data.name,
    raw,
    config.data_dir,
    tuple(data.image_size),
    tokenizer=data.tokenizer,
    settings=config.custom if custom.is_custom(data.name) and "custom" in config else None,
    use_exif=data.use_exif,
    skip_bad=flags.FLAGS.skip_bad,
    page=flags.FLAGS.page,
  )


def _complete(folder, name, written, image_size, tokenizer, *, source, report, pictures):
  """Writes a built data set's index, its report and, last, what is known of it."""
  counts: dict[str, dict] = {}
  truncated = {}
  persons: dict[int, str] = {}
  how = [name, list(image_size), schema.VERSION, images.DECODER, tokenizer.digest]
  fingerprint = hashlib.sha256(json.dumps(how).encode())
  for split in schema.SPLITS:
    rows = [row for shard in written if shard.split == split for row in shard.rows]
    if not rows:
      continue
    captions = [caption for row in rows for caption in row.record.captions]
    tokens = tokenizer(captions)
    person_id = [row.record.person_id for row in rows]
    split_files.write_index(
      folder,
      split,
      tokens=tokens,
      texts={
        "captions": captions,
        "file_paths": [row.record.file_path for row in rows],
        "cameras": [row.record.camera for row in rows],
        "times": [row.record.time for row in rows],
      },
      person_id=np.array(person_id, np.int32),
      caption_image=np.repeat(np.arange(len(rows), dtype=np.int32), [len(row.record.captions) for row in rows]),
      position=np.array([row.position for row in rows], np.int64),
      size=np.array([row.size for row in rows], np.int32),
      digest=np.array([row.digest for row in rows]),
    )
    content = [(*shards.annotation(row.record), row.digest) for row in rows]
    fingerprint.update(json.dumps(content).encode())
    fingerprint.update(tokens.tobytes())
    counts |= {name: count._asdict() for name, count in schema.count([row.record for row in rows]).items()}
    truncated[split] = int((tokenizer.num_tokens(captions) > MAX_LENGTH).sum())
    persons |= {row.record.person_id: row.record.person for row in rows if row.record.person}
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
    "persons": persons,  # identities that are no numbers where they are annotated, by number
    "report": report.to_json(),
    "left_out": [dataclasses.asdict(problem) for problem in report.problems if problem.is_error],
    "fingerprint": fingerprint.hexdigest(),
    "source": source,
    "libraries": {library: importlib.metadata.version(library) for library in _LIBRARIES},
  }
  (folder / splits.INFO_FILE).write_text(json.dumps(info, indent=2) + "\n")


@contextlib.contextmanager
def _work_folder(folder):
  """Yields a folder that lasts only if the process is killed or interrupted, so that the next one can go on there."""
  try:
    yield folder
  except Exception:
    _remove(folder)
    raise
  _remove(folder)


def _remove(folder):
  shutil.rmtree(folder, ignore_errors=True)
  with contextlib.suppress(OSError):
    folder.parent.rmdir()  # only if nothing else is in it


def _source_digest(records, problems, image_size, tokenizer, use_exif):
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


def _is_prepared(target, source, skip_bad):
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


if __name__ == "__main__":
  from tireid_jax import cli

  config_file.define_flag("config", None, "Config file; its data.name, data.image_size and data_dir are used.")
  flags.DEFINE_string("raw", None, "Folder of the raw data set, or the folder that holds it.")
  flags.DEFINE_string("page", "", "HTML file for the report, also of a data set that cannot be prepared as it is.")
  flags.DEFINE_bool("skip_bad", False, "Leaves out entries and images that cannot be used, and records which.")
  cli.run(main)
