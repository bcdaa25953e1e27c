"""The skeleton of all pages: inserted text is escaped, including characters that UTF-8 cannot encode."""

import base64
import io

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from tireid_jax.reporting import page

TEMPLATE = """{% extends "page.html" %}
{% import "parts.html" as parts %}
{% block body %}{% call parts.section("A & B", hint) %}{{ parts.table(rows) }}{% endcall %}{% endblock %}"""


def write(folder, template=TEMPLATE, css="", **values):
  (folder / "some.html").write_text(template)
  if css:
    (folder / "some.css").write_text(css)
  context = {"title": "T", "hint": "", "rows": [{"name": page.Cell("x"), "count": page.Cell("1", "differs")}], **values}
  page.write_page(folder / "page" / "out.html", folder / "some.html", **context)
  return (folder / "page" / "out.html").read_text(encoding="utf-8")


def test_every_value_and_literal_of_a_template_is_escaped(tmp_path):
  text = write(tmp_path, title="<i>", notes=['"&"'], hint="<b>", rows=[{"<u>": page.Cell("<s>")}])
  assert "<title>&lt;i&gt;</title>" in text
  assert "<h1>&lt;i&gt;</h1>" in text
  assert "<p>&#34;&amp;&#34;</p>" in text
  assert '<h2>A &amp; B</h2><p class="hint">&lt;b&gt;</p>' in text
  assert '<th scope="col">&lt;u&gt;</th></tr></thead><tbody><tr><th scope="row">&lt;s&gt;</th>' in text


def test_a_lone_surrogate_is_written_as_an_escape_sequence(tmp_path):
  assert r"half \ud83d here" in write(tmp_path, hint="half \ud83d here")


def test_the_style_sheet_of_a_template_follows_the_common_one(tmp_path):
  style = write(tmp_path, css="p > b { color: red; }").partition("</style>")[0]
  assert style.endswith("p > b { color: red; }")
  assert style.index(":root") < style.index("p > b")
  (tmp_path / "some.css").unlink()
  assert "p > b" not in write(tmp_path)


def test_a_marked_cell_has_its_class_and_the_first_column_is_the_row_header(tmp_path):
  assert '<tr><th scope="row">x</th><td class="differs">1</td></tr>' in write(tmp_path)


def test_a_missing_value_of_a_template_is_an_error(tmp_path):
  with pytest.raises(UndefinedError, match="nothing"):
    write(tmp_path, template=TEMPLATE.replace("hint", "nothing"))
  assert not (tmp_path / "page" / "out.html").exists()


def test_a_jpeg_uri_is_smaller_at_lower_quality():
  image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
  fine, coarse = page.jpeg_uri(image, 90), page.jpeg_uri(image, 20)
  assert fine.startswith("data:image/jpeg;base64,")
  assert len(coarse) < len(fine) / 2


def test_a_higher_image_is_reduced_in_proportion_and_a_lower_one_is_kept():
  image = np.zeros((40, 20, 3), np.uint8)

  def size(height):
    data = page.jpeg_uri(image, 90, height).removeprefix("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(data))).size

  assert (size(10), size(40), size(100), size(0)) == ((5, 10), (20, 40), (20, 40), (20, 40))
