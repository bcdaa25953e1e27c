"""Ranks a folder of person images for a sentence, an image or a mix of both.

python -m tireid_jax.search --workdir=W --gallery=DIR --query="a woman in a red coat"
python -m tireid_jax.search --pretrained=CLIP --gallery=DIR --query=./person.jpg --top=20
python -m tireid_jax.search --workdir=W --gallery=DIR --query='2:"red coat" + ./pool.jpg' --html=FILE.html
python -m tireid_jax.search --workdir=W --gallery=DIR --queries=FILE --filter=camera=3 --filter=time=08:00.. --json
python -m tireid_jax.search --workdir=W --gallery=DIR --boxes=FILE.csv --query="..."     persons in whole frames
python -m tireid_jax.search --workdir=W --gallery=DIR --index_only                       for a scheduled job

The first call encodes all images below the gallery; later ones only new and changed files. Without --gallery, the index
that --index names is searched as it is. A score orders the images of one query; it says nothing across queries.
"""

import json
import os

from absl import flags

from tireid_jax import cli
from tireid_jax.errors import UserError
from tireid_jax.search import contact_sheet, searcher_flags, where
from tireid_jax.search import query as query_lib
from tireid_jax.search.results import Report, Result
from tireid_jax.search.searcher import Searcher
from tireid_jax.storage import compilation_cache, locations
from tireid_jax.terminal.progress import log_line
from tireid_jax.terminal.table import format_table

# Unreadable images that are named; the others are counted.
_NUM_NAMED = 10


def main(_: list[str]) -> None:
  options = flags.FLAGS
  texts, queries, filters, html = _check(options)
  compilation_cache.enable_persistent_cache()
  searcher = searcher_flags.open_searcher(options)
  if options.gallery:
    report = searcher.update(boxes=options.boxes, compact=options.compact, show_progress=True)
    _log(report, searcher)
  if options.index_only:
    return
  found = searcher.search_all(queries, options.top, filters)
  if options.json:
    print(json.dumps([_to_json(text, results) for text, results in zip(texts, found, strict=True)], indent=2))
  else:
    for text, results in zip(texts, found, strict=True):
      print(f"{text}\n{_table(results)}")
  if html:
    contact_sheet.write(html, list(zip(texts, found, strict=True)), use_exif=searcher.encoders.use_exif)
    log_line(f"wrote {html}")


def _check(options):
  """Returns (texts, queries, Where, html file or None) of the flags; raises UserError if they do not fit together."""
  if options.query and options.queries:
    raise UserError("give either --query or --queries")
  if (options.index_only or options.boxes or options.compact) and not options.gallery:
    raise UserError("--index_only, --boxes and --compact change the index; give --gallery=DIR too")
  if options.index_only:
    if options.query or options.queries or options.html:
      raise UserError("--index_only searches nothing; leave it out, or --query, --queries and --html")
    texts = []
  elif options.queries:
    texts = query_lib.read_queries(options.queries)
  elif options.query and options.query.strip():
    texts = [options.query]
  else:
    raise UserError('the query is empty; give --query="SENTENCE", --query=IMAGE, --queries=FILE or --index_only')
  if options.top < 1:
    raise UserError(f"--top={options.top} must be at least 1")
  searcher_flags.check(options)
  html = locations.local_path(options.html, "--html") if options.html else None
  if html is not None and not html.absolute().parent.is_dir():
    raise UserError(f"--html={options.html}: there is no folder {html.parent}")
  if html is not None and html.is_dir():
    raise UserError(f"--html={options.html} is a folder; give a file in it")
  return texts, [query_lib.parse(text) for text in texts], where.parse(options.filter), html


def _log(report: Report, searcher: Searcher) -> None:
  for path, reason in report.unreadable[:_NUM_NAMED]:
    log_line(f"skipped {_shown(path)}: {reason}")
  if len(report.unreadable) > _NUM_NAMED:
    log_line(f"skipped {len(report.unreadable) - _NUM_NAMED:,} more")
  log_line(
    f"{searcher.index.location}: {len(searcher):,} images ({report.num_added:,} new, {report.num_changed:,} changed, "
    f"{report.num_removed:,} removed, {len(report.unreadable):,} unreadable)"
  )


def _table(results: list[Result]) -> str:
  if not results:
    return "no image satisfies the filter"
  shown = [("camera", any(r.camera for r in results)), ("time", any(r.time for r in results))]
  rows = [
    {
      "rank": result.rank, "score": f"{result.score:.4f}", "path": _shown(result.path),
      **({"box": ",".join(map(str, result.box or ()))} if any(r.box for r in results) else {}),
      **{name: getattr(result, name) for name, is_known in shown if is_known},
    }
    for result in results
  ]  # fmt: skip
  return format_table(rows)


def _shown(path):
  """Returns a path as one line of text that a terminal takes for no command."""
  text = os.fsencode(path).decode(errors="backslashreplace")
  return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _to_json(text, results):
  return {"query": text, "results": [{**result._asdict(), "file": str(result.file)} for result in results]}


if __name__ == "__main__":
  searcher_flags.define()
  flags.DEFINE_bool("index_only", False, "update the index and search nothing")
  flags.DEFINE_bool("compact", False, "rewrite the index without removed images")
  flags.DEFINE_string("query", "", 'a sentence, an image file, or a weighted mix: 2:"red coat" + ./pool.jpg')
  flags.DEFINE_string("queries", "", "text file with a query on each line")
  flags.DEFINE_integer("top", 10, "number of images for each query")
  flags.DEFINE_multi_string("filter", [], "camera=A,B, time=FROM..TO or folder=A,B; may be repeated")
  flags.DEFINE_bool("json", False, "print JSON")
  flags.DEFINE_string("html", "", "also write a contact sheet to this file")
  cli.run(main)
