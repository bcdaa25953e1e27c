"""A chart as a file: well-formed, with a legend, the name of the axis and notes."""

import xml.etree.ElementTree as ElementTree

from tireid_jax.reporting import svg_file

SVG = "{http://www.w3.org/2000/svg}"


def test_the_file_has_the_lines_a_legend_the_axis_and_escaped_notes(tmp_path):
  svg_file.write_line_chart(
    tmp_path / "chart.svg", {"R@1": [(0, 10.0), (4, 20.0)], "mAP": [(0, 5.0), (4, 9.0)]},
    label="A chart", x_name="P", x_label="prompt tokens", unit="%", notes=["a < b & c"],
  )  # fmt: skip
  root = ElementTree.parse(tmp_path / "chart.svg").getroot()
  assert len(list(root.iter(f"{SVG}polyline"))) == 2
  texts = [text.text for text in root.iter(f"{SVG}text")]
  assert {"R@1", "mAP", "P: prompt tokens", "a < b & c"} <= set(texts)
  assert root.find(f"{SVG}title").text == "A chart"
