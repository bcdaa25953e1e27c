"""How a step's estimated throughput scales with the number of chips, as a plot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tireid_jax.errors import UserError

if TYPE_CHECKING:
  from matplotlib.figure import Figure

IDEAL, OVERLAPPED, SERIAL = "ideal", "communication overlaps compute", "communication after compute"


def scaling_plot(points: Sequence[tuple[int, float, float]], title: str) -> "Figure":
  """Returns a plot of examples per second over chips, both on logarithmic axes.

  Args:
    points: (chips, examples per second if communication overlaps compute, the same if it follows), fewest chips first.
    title: of the plot.

  Raises:
    UserError: matplotlib is not installed.
  """
  require_matplotlib()
  from matplotlib import figure, ticker

  chips, overlapped, serial = zip(*points, strict=True)
  picture = figure.Figure(figsize=(10, 6.3), layout="constrained")
  axes = picture.subplots()
  axes.loglog(chips, [overlapped[0] * count / chips[0] for count in chips], "o-", color="0.6", label=IDEAL)
  axes.loglog(chips, serial, "o-", label=SERIAL)
  axes.loglog(chips, overlapped, "o-", label=OVERLAPPED)
  axes.set(title=title, xlabel="chips", ylabel="examples/s")
  axes.set_xticks(chips, map(str, chips))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.grid(axis="y")
  axes.legend()
  return picture


def require_matplotlib() -> None:
  """Raises UserError if matplotlib, which only the plot needs, is not installed."""
  try:
    import matplotlib  # noqa: F401
  except ImportError as error:
    raise UserError("--plot needs matplotlib, which is not installed; run pip install matplotlib") from error
