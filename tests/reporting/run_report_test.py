"""The report as a browser reads it: everything in one file, every image framed as it should be, nothing unescaped."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from tireid_jax.evaluation import ranked_examples
from tireid_jax.reporting import run_report

ROWS = [
  {"run": "zero-shot", "R@1": 6.5, "mAP": 5.0, "trainable parameters": 0, "time": "-"},
  {"run": "after stage 2", "R@1": 41.25, "mAP": 3.0, "trainable parameters": 2345678, "time": "1 min"},
]
VOID = {"meta", "img", "br", "link", "input"}


class Page(html.parser.HTMLParser):
  """Elements in order, as (tag, attributes, the text inside), with a check that tags nest."""

  def __init__(self, text):
    super().__init__()
    self.elements, self._open = [], []
    self.feed(text)
    assert not self._open

  def handle_starttag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ""])
    if tag not in VOID:
      self._open.append(self.elements[-1])

  def handle_startendtag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ""])

  def handle_endtag(self, tag):
    assert self._open.pop()[0] == tag

  def handle_data(self, data):
    for element in self._open:
      element[2] += data

  def all(self, tag, css=None):
    return [e for e in self.elements if e[0] == tag and (css is None or css in e[1].get("class", "").split())]


def make_query(kind, caption, is_correct, shade=0):
  def image(value):
    return np.full((12, 6, 3), value, np.uint8)

  hits = [ranked_examples.Hit(image(shade + i), 30 + i, 0.9 - 0.1 * i, right) for i, right in enumerate(is_correct)]
  return ranked_examples.RankedQuery(kind, caption, 77, 2, 0.5, image(shade + 200), hits)


def write(tmp_path, **options):
  path = tmp_path / "out" / "report.html"
  run_report.write_report(path, **{"title": "A run", "table": ROWS, **options})
  return Page(path.read_text(encoding="utf-8"))


def test_every_image_is_there_framed_green_where_right_and_red_where_wrong(tmp_path):
  verdicts = [[False, True, True], [False, False, False]]
  queries = [make_query(kind, "a man", verdicts[i], 40 * i) for i, kind in enumerate(("best", "worst"))]
  page = write(tmp_path, queries=queries)
  figures = [e[1]["class"] for e in page.all("figure")]
  assert figures == ["described", "wrong", "right", "right", "described", "wrong", "wrong", "wrong"]
  shades = []
  for _, attributes, _ in page.all("img"):
    data = base64.b64decode(attributes["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
    shades.append(int(np.asarray(Image.open(io.BytesIO(data))).mean().round()))
  np.testing.assert_allclose(shades, [200, 0, 1, 2, 240, 40, 41, 42], atol=1)
  style = page.all("style")[0][2]
  for verdict, channel in (("right", 1), ("wrong", 0)):
    assert f"figure.{verdict} img {{ border-color: var(--{verdict}); }}" in style
    for colour in re.findall(rf"--{verdict}: #(\w{{6}});", style):
      assert np.argmax(list(bytes.fromhex(colour))) == channel


def test_rank_verdict_identity_and_similarity_are_in_words_too(tmp_path):
  page = write(tmp_path, queries=[make_query("random", "a man", [False, True])])
  assert [e[1]["alt"] for e in page.all("img")] == [
    "the image that was described",
    "rank 1, wrong: identity 30, similarity 0.900",
    "rank 2, right: identity 31, similarity 0.800",
  ]
  assert [e[2] for e in page.all("figcaption")][1:] == ["1 ✗ 0.900id 30", "2 ✓ 0.800id 31"]
  assert page.all("h3", "kind")[0][2] == "Picked at random"


def test_what_a_caption_or_title_says_is_shown_and_not_run(tmp_path):
  nasty = '<script>alert("1")</script> & \' </style>'
  page = write(
    tmp_path,
    title=nasty,
    notes=[nasty],
    table=[{"run": nasty, "R@1": 1.0}],
    ceilings={nasty: 50.0},
    queries=[make_query("best", nasty, [True])],
    curves={nasty: [{"step": 1, "seconds": 0.0, "loss/total": 2.0}]},
  )
  assert not page.all("script")
  assert page.all("blockquote")[0][2] == f"“{nasty}”"
  assert page.all("h1")[0][2] == page.all("title")[0][2] == page.all("th")[2][2] == nasty


def test_the_page_refers_to_nothing_outside_itself(tmp_path):
  page = write(
    tmp_path, queries=[make_query("best", "a man", [True])], curves={"Stage 1": [{"step": 1, "loss/total": 2.0}]}
  )
  assert not page.all("link") + page.all("script") + page.all("iframe")
  sources = [e[1][name] for e in page.elements for name in ("src", "href", "srcset", "data") if name in e[1]]
  assert sources
  assert all(source.startswith("data:image/") for source in sources)
  assert not re.search(r"url\(|@import|https?:", page.all("style")[0][2])


def test_the_table_names_its_rows_and_marks_the_highest_of_each_figure(tmp_path):
  page = write(tmp_path)
  assert [e[2] for e in page.all("th")] == [*ROWS[0], "zero-shot", "after stage 2"]
  assert [e[2] for e in page.all("td")] == ["6.50", "5.00", "0", "-", "41.25", "3.00", "2,345,678", "1 min"]
  assert [e[2] for e in page.all("td", "highest")] == ["5.00", "41.25"]


def test_ceilings_are_bars_of_their_own_length(tmp_path):
  page = write(tmp_path, ceilings={"all colours": 61.25, "all shapes": 5.0})
  assert [e[1]["style"] for e in page.all("span", "fill")] == ["width:61.25%", "width:5.00%"]
  assert [e[2] for e in page.all("span", "value")] == ["61.25", "5.00"]


def test_loss_and_validation_are_drawn_for_each_stage(tmp_path):
  two_terms = [
    {"step": 5, "seconds": 1.0, "loss/total": 3.0, "loss/sdm": 2.0, "loss/identity": 1.0},
    {"step": 5, "seconds": 2.0, "val/t2i/R@1": 12.5, "val/t2i/mAP": 9.0, "val/i2t/R@1": 99.0},
  ]
  one_term = [{"step": 5, "seconds": 1.0, "loss/total": 3.0, "loss/itc": 3.0}]
  page = write(tmp_path, curves={"Stage 1": one_term, "Stage 2": two_terms, "Nothing": []})
  headings = [e[2] for e in page.all("h3")]
  assert headings == ["Stage 1: loss", "Stage 2: loss", "Stage 2: validation, percent"]
  assert [e[2] for e in page.all("ul", "legend")] == ["total", "totalidentitysdm", "R@1mAP"]
  values = [e[2] for e in page.all("title")][1:]
  assert "R@1 12.5% at step 5" in values
  assert not any("99" in value for value in values)


@pytest.mark.parametrize("missing", ["curves", "ceilings", "queries", "notes"])
def test_what_there_is_none_of_leaves_no_heading(tmp_path, missing):
  everything = {
    "curves": {"Stage 1": [{"step": 1, "loss/total": 2.0}]},
    "ceilings": {"all": 90.0},
    "queries": [make_query("best", "a man", [True])],
    "notes": ["A note."],
  }
  headings = {
    "curves": "Curves",
    "ceilings": "What the attributes alone would find",
    "queries": "What single captions find",
    "notes": None,
  }
  del everything[missing]
  expected = {"Results on the test split, text to image", *headings.values()} - {None, headings[missing]}
  page = write(tmp_path, **everything)
  assert {e[2] for e in page.all("h2")} == expected


def test_a_report_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path):
  write(tmp_path)
  page = write(tmp_path, title="Another run")
  assert page.all("h1")[0][2] == "Another run"
  assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
