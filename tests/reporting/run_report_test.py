"""The run report as a browser parses it: one self-contained file, correct frames around images, escaped text."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.reporting.pages import Page
from tireid_jax import metrics
from tireid_jax.evaluation import ranked_examples, word_relevance
from tireid_jax.reporting import run_report, svg_chart

ROWS = [
  {"run": "zero-shot", "R@1": 6.5, "mAP": 5.0, "trainable parameters": 0, "time": "-"},
  {"run": "after stage 2", "R@1": 41.25, "mAP": 3.0, "trainable parameters": 2345678, "time": "1 min"},
]


def make_query(kind, caption, is_correct, shade=0):
  def image(value):
    return np.full((12, 6, 3), value, np.uint8)

  hits = [ranked_examples.Hit(image(shade + i), 30 + i, 0.9 - 0.1 * i, right) for i, right in enumerate(is_correct)]
  return ranked_examples.RankedQuery(kind, caption, 77, 2, 0.5, image(shade + 200), hits)


def write(tmp_path, **options):
  path = tmp_path / "out" / "report.html"
  run_report.write_report(path, **{"title": "A run", "table": ROWS, **options})
  return Page(path.read_text(encoding="utf-8"))


def test_correct_images_have_a_green_frame_and_wrong_ones_a_red_frame(tmp_path):
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


def test_rank_correctness_identity_and_similarity_are_also_given_as_text(tmp_path):
  page = write(tmp_path, queries=[make_query("random", "a man", [False, True])])
  assert [e[1]["alt"] for e in page.all("img")] == [
    "the described image",
    "rank 1, wrong: identity 30, similarity 0.900",
    "rank 2, right: identity 31, similarity 0.800",
  ]
  assert [e[2] for e in page.all("figcaption")][1:] == ["1 ✗ 0.900id 30", "2 ✓ 0.800id 31"]
  assert page.all("h3", "kind")[0][2] == "Picked at random"


def test_markup_in_captions_and_titles_is_escaped(tmp_path):
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


def test_the_page_loads_no_external_resource(tmp_path):
  page = write(
    tmp_path, queries=[make_query("best", "a man", [True])], curves={"Stage 1": [{"step": 1, "loss/total": 2.0}]}
  )
  assert not page.all("link") + page.all("script") + page.all("iframe")
  sources = [e[1][name] for e in page.elements for name in ("src", "href", "srcset", "data") if name in e[1]]
  assert sources
  assert all(source.startswith("data:image/") for source in sources)
  assert not re.search(r"url\(|@import|https?:", page.all("style")[0][2])


def test_the_table_has_row_headers_and_marks_the_highest_value_of_each_metric(tmp_path):
  page = write(tmp_path)
  assert [e[2] for e in page.all("th")] == [*ROWS[0], "zero-shot", "after stage 2"]
  assert [e[2] for e in page.all("td")] == ["6.50", "5.00", "0", "-", "41.25", "3.00", "2,345,678", "1 min"]
  assert [e[2] for e in page.all("td", "highest")] == ["5.00", "41.25"]


def test_the_length_of_a_bar_shows_its_ceiling(tmp_path):
  page = write(tmp_path, ceilings={"all colours": 61.25, "all shapes": 5.0})
  assert [e[1]["style"] for e in page.all("span", "fill")] == ["width:61.25%", "width:5.00%"]
  assert [e[2] for e in page.all("span", "value")] == ["61.25", "5.00"]


def test_each_stage_has_a_loss_chart_and_a_validation_chart(tmp_path):
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


def validation_legends(tmp_path, **options):
  logged = {f"val/{direction}/{name}": 10.0 for direction in metrics.DIRECTIONS for name in metrics.METRICS}
  records = [{"step": 5, "seconds": 1.0, **logged}]
  return [e[2] for e in write(tmp_path, curves={"Stage 2": records}, **options).all("ul", "legend")]


@pytest.mark.parametrize(
  ("select_by", "legend"),
  [("i2t/mAP", "R@1R@10mAPmAP, image to text"), ("t2i/mINP", "R@1R@10mAPmINP"), ("t2i/mAP", "R@1R@10mAP")],
)
def test_the_metric_that_selects_the_checkpoint_has_a_curve(tmp_path, select_by, legend):
  assert validation_legends(tmp_path, select_by=select_by) == [legend]


def test_the_curve_of_an_image_to_text_metric_has_the_values_of_that_direction(tmp_path):
  records = [{"step": 5, "seconds": 1.0, "val/t2i/mAP": 9.0, "val/i2t/mAP": 77.0}]
  page = write(tmp_path, curves={"Stage 2": records}, select_by="i2t/mAP")
  assert [e[2] for e in page.all("title")][1:] == ["mAP, image to text 77% at step 5", "mAP 9% at step 5"]


def test_a_metric_added_to_the_registry_has_a_curve(tmp_path, monkeypatch):
  assert validation_legends(tmp_path) == ["R@1R@10mAP"]
  monkeypatch.setitem(metrics.METRICS, "R@20", lambda scores: scores.first_rank <= 20)
  assert validation_legends(tmp_path) == ["R@1R@10mAPR@20"]


def test_metrics_that_exceed_the_colors_of_a_chart_are_shown_in_a_second_chart(tmp_path, monkeypatch):
  for k in (20, 50):
    monkeypatch.setitem(metrics.METRICS, f"R@{k}", lambda scores, k=k: scores.first_rank <= k)
  assert validation_legends(tmp_path) == ["R@1R@10mAPR@20", "R@50"]


def test_the_style_sheet_colors_every_line_of_a_chart(tmp_path):
  style = write(tmp_path).all("style")[0][2]
  assert len(re.findall(r"\.s\d polyline", style)) == svg_chart.MAX_SERIES


@pytest.mark.parametrize("missing", ["curves", "ceilings", "queries", "notes"])
def test_an_empty_section_has_no_heading(tmp_path, missing):
  everything = {
    "curves": {"Stage 1": [{"step": 1, "loss/total": 2.0}]},
    "ceilings": {"all": 90.0},
    "queries": [make_query("best", "a man", [True])],
    "notes": ["A note."],
  }
  headings = {
    "curves": "Curves",
    "ceilings": "Upper bounds from attributes",
    "queries": "Example queries",
    "notes": None,
  }
  del everything[missing]
  expected = {"Results on the test split, text to image", *headings.values()} - {None, headings[missing]}
  page = write(tmp_path, **everything)
  assert {e[2] for e in page.all("h2")} == expected


def test_a_report_replaces_the_previous_one_and_leaves_no_other_file(tmp_path):
  write(tmp_path)
  page = write(tmp_path, title="Another run")
  assert page.all("h1")[0][2] == "Another run"
  assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def with_words(query, **drops):
  words = [word_relevance.Word(text, values) for text, values in drops.items()]
  return dataclasses.replace(query, words=words)


def test_words_are_shaded_by_what_leaving_them_out_changes(tmp_path):
  drops = {"<i>": (0.2, 0.1), "coat,": (-0.1, 0.4), "in": (0.01, 0.0)}
  page = write(tmp_path, queries=[with_words(make_query("best", "<i> coat, in", [False, True]), **drops)])
  assert page.all("blockquote")[0][2] == "“<i> coat, in”"
  spans = [(e[2], e[1].get("class"), e[1].get("style")) for e in page.all("span") if "title" in e[1]]
  # The largest difference, 0.4, has the darkest shade, 60%; "in" has none.
  described = [("<i>", "word supports", "--shade:30%"), ("coat,", "word opposes", "--shade:15%"), ("in", None, None)]
  wrong = [("<i>", "word supports", "--shade:15%"), ("coat,", "word supports", "--shade:60%"), ("in", None, None)]
  assert spans == described + wrong
  hints = [e[2] for e in page.all("p", "hint")]
  assert "Change of the similarity to the described image without “<i>”: -0.200, “coat”: +0.100, “in”: -0.010" in hints
  assert any("wrong image at rank 1: “<i> coat, in” Without “coat”: -0.400, “<i>”: -0.100" in hint for hint in hints)
  assert any("a difference of 0.400" in hint for hint in hints)


def test_a_right_first_image_needs_no_explanation_and_words_that_do_not_matter_no_shade(tmp_path):
  page = write(tmp_path, queries=[with_words(make_query("best", "a man", [True]), a=(0.0, 0.0), man=(0.0, 0.0))])
  assert not page.all("span", "word")
  assert not any("rank 1:" in e[2] for e in page.all("p", "hint"))
