"""The plot of throughput over the number of chips."""

import sys

import pytest
from PIL import Image

from tireid_jax.errors import UserError
from tireid_jax.plan import plot

# With 100 times as many chips, the rate is 100 times as high with overlap and 10 times as high without.
POINTS = [(1, 100.0, 90.0), (100, 10_000.0, 900.0)]


def test_each_line_shows_its_rates_on_logarithmic_axes():
  (axes,) = plot.scaling_plot(POINTS, "ViT-B/16").axes
  lines = {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}
  assert lines == {
    plot.IDEAL: [(1, 100.0), (100, 10_000.0)],
    plot.OVERLAPPED: [(1, 100.0), (100, 10_000.0)],
    plot.SERIAL: [(1, 90.0), (100, 900.0)],
  }
  assert (axes.get_xscale(), axes.get_yscale(), axes.get_title()) == ("log", "log", "ViT-B/16")


@pytest.mark.parametrize("points", [POINTS, POINTS[:1]])
def test_the_plot_is_saved_as_a_png(points, tmp_path):
  plot.scaling_plot(points, "title").savefig(tmp_path / "plot.png")
  with Image.open(tmp_path / "plot.png") as picture:
    assert (picture.format, picture.size) == ("PNG", (1000, 630))


def test_a_missing_matplotlib_raises_one_line(monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(UserError, match="--plot needs matplotlib, which is not installed; run pip install matplotlib"):
    plot.require_matplotlib()
