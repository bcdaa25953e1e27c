"""Preparing: read annotations, decode images, check everything, pack; the folder appears whole or not at all."""

import contextlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from tireid_jax.data.checks import doctor, doctor_page
from tireid_jax.data.datasets import registry
from tireid_jax.data.preparation import metadata, source
from tireid_jax.data.prepared import builders, recipe, shards, splits
from tireid_jax.data.raw.problems import by_kind
from tireid_jax.data.tokenizer import load_tokenizer
from tireid_jax.errors import UserError, naming
from tireid_jax.storage import locations, lock

# Errors named in the message when nothing is prepared.
_NUM_NAMED = 10


def prepare(
  name: str,
  raw_dir: str | pathlib.Path,
  data_dir: str | pathlib.Path,
  image_size: tuple[int, int],
  *,
  tokenizer: str = "",
  settings: Mapping[str, Any] | None = None,
  use_exif: bool = True,
  skip_bad: bool = False,
  page: str | pathlib.Path = "",
  show_progress: bool = True,
) -> pathlib.Path:
  """Prepares a raw data set below `data_dir`, unless it is prepared already, and returns its folder.

  Args:
    name: of the data set, as config.data.name.
    raw_dir: its raw folder, or the folder that holds it.
    data_dir: folder of prepared data sets.
    image_size: (h, w) pixels to resize to.
    tokenizer: as config.data.tokenizer.
    settings: config.custom, of custom data.
    use_exif: as config.data.use_exif.
    skip_bad: leaves out unusable entries and images, and records them in the prepared data set.
    page: HTML file for the report, which is also written if the data set cannot be prepared; "" for none.
    show_progress: whether to show progress bars, and the report at the end.

  Raises:
    FileNotFoundError: the annotation file or the tokenizer is missing.
    ValueError: without `skip_bad`, entries or images are unusable; or the target folder holds something else, or the
      disk is too full. Then only `page` is written, and decoded images are deleted.
  """
  page = page and locations.local_path(page, "--page")
  raw_data = registry.find(name, raw_dir, settings)
  target = splits.prepared_path(data_dir, name, image_size)
  encoder = load_tokenizer(tokenizer)
  problems: list = []
  records = raw_data.read(problems=problems)
  source_digest = source.digest(records, problems, image_size, encoder, use_exif)
  home = target.parent.parent
  if page:
    with naming(page):
      page.absolute().parent.mkdir(parents=True, exist_ok=True)
  with naming(target), lock.holding(home, home, "give another --config.data_dir"):
    state = "prepared already"
    if not source.is_prepared(target, source_digest, skip_bad):
      state = "prepared"
      with _work_folder(home / f".preparing-{target.parent.name}") as work:  # next to the target, to be renamed to it
        plan = shards.Plan(records, image_size, work / "shards", use_exif=use_exif)
        doctor.check_space(home, plan.num_bytes)
        written, faults = plan.write(name=name, show_progress=show_progress)
        sibling = doctor.prepared_sibling(data_dir, name)
        report, pictures = _examine(raw_data, written, problems + faults, encoder, sibling)
        if (report.num_errors and not skip_bad) or not written:
          _raise_errors(raw_data, report, pictures, page, show_progress)
        shutil.rmtree(work / name, ignore_errors=True)  # of a run that was killed while it packed
        built = builders.build(name, written, work, image_size)
        metadata.complete(
          built, name, written, image_size, encoder, source=source_digest, report=report, pictures=pictures
        )
        target.parent.mkdir(exist_ok=True)
        built.rename(target)
  if page:
    with naming(page):
      shutil.copyfile(target / splits.REPORT_PAGE, page)
  if show_progress:
    print((target / splits.REPORT_FILE).read_text(encoding="utf-8"))
    print(f"{target}: {state}\n{_summary(target)}")
  return target


def _examine(raw_data, written, problems, tokenizer, sibling):
  """Returns the Report of decoded Shards and of what is wrong with the data set, and the Pictures for its page."""
  images = [image for shard in written for image in shard.images]
  records = [image.record for image in images]
  captions = [caption for record in records for caption in record.captions]
  report = doctor.examine(
    raw_data.layout, records, problems, caption_lengths=tokenizer.num_tokens(captions),
    image_sizes=[image.size for image in images], image_digests=[image.digest for image in images], sibling=sibling,
  )  # fmt: skip
  return report, doctor_page.take_pictures(report, records, raw_data.images)


def _raise_errors(raw_data, report, pictures, page, show_progress):
  """Prints and writes the report of a data set that cannot be prepared as it is, and raises ValueError."""
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
  raise UserError(f"{raw_data.annotations}: {kinds}: {named}. Correct them, or give --skip_bad to leave them out")


def _summary(target):
  """Returns a line that summarises a prepared data set."""
  info = recipe.read(target / splits.INFO_FILE)
  tokenizer, left_out = info["tokenizer"], len(info["left_out"])
  return (
    f"fingerprint {info['fingerprint'][:12]}, tokenizer {tokenizer['name'] or 'of CLIP'} with "
    f"{tokenizer['vocabulary_size']:,} ids" + (f", {left_out:,} entries or images left out" if left_out else "")
  )


@contextlib.contextmanager
def _work_folder(folder):
  """Yields a folder that remains only if the process is killed or interrupted, so that the next run can resume."""
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
