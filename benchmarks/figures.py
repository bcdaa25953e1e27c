"""The benchmarks' reported metrics: their targets, the table, and the comparison with a baseline.

A run is {"machine": {...}, "rounds": [{benchmark: {"ours": {...}, "peer": {...}}}, ...]}. Benchmarks that failed or
were omitted are not in it.
"""

import dataclasses

import numpy as np

# Relative differences below this are never reported as a change.
NOISE = 0.05
BEST_RATE = "best_gflop_per_s"


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure of a benchmark.

  Attributes:
    text: what the table calls it.
    bench: benchmark that it is from.
    ours: its field in our line.
    peer: its field in the reference's line, or "a-b" for a difference of two; "" for none.
    reference: its field in our line where that has the reference's too; "" for none.
    kind: "rate" (higher is better, grows with the machine's speed), "seconds" (the other way), "share" or "memory",
      which no machine's speed changes.
    target: of the ratio, or of our own figure where there is no reference; as the table shows it.
  """

  text: str
  bench: str
  ours: str
  peer: str = ""
  reference: str = ""
  kind: str = "rate"
  target: str = ""

  def pair(self, results):
    """Returns (reference, ours) of one round's results, None for what is not in them."""
    both = results.get(self.bench, {})
    mine = both.get("ours", {})
    theirs = mine.get(self.reference) if self.reference else _field(both.get("peer", {}), self.peer)
    return theirs, mine.get(self.ours)

  def ratio(self, theirs, mine):
    """Returns how many times better ours is."""
    return mine / theirs if self.kind in ("rate", "share") else theirs / mine


def _field(values, name):
  first, _, second = name.partition("-")
  if first not in values or (second and second not in values):
    return None
  return values[first] - values[second] if second else values[first]


def _step(text, bench, examples="", memory=""):
  peer = bool(examples)
  return (
    Figure(f"{text}, examples/s", bench, "examples_per_s", "examples_per_s" if peer else "", target=examples),
    Figure(
      f"{text}, memory, MiB", bench, "peak_rss_mib", "peak_rss_mib" if peer else "", kind="memory", target=memory
    ),
  )  # fmt: skip


def _share(text, bench):
  return (
    Figure(f"{text}, fraction of the best matrix rate", bench, "model_share_of_best", kind="share", target="0.80"),
    Figure(f"{text}, the same, of computed products", bench, "share_of_best", kind="share"),
  )


def _metrics(split, target=""):
  return (
    Figure(f"metrics, size of {split}, s", f"metrics_{split}", "median_s", "median_s", kind="seconds", target=target),
    Figure(
      f"metrics, size of {split}, memory, MiB", f"metrics_{split}", "peak_beyond_mib", "peak_rss_mib-rss_before_mib",
      kind="memory",
    ),
  )  # fmt: skip


FIGURES = (
  *_step("stage 2", "step2", "1.7", "1"),
  *_share("stage 2", "step2"),
  *_step("stage 1", "step1", "1.8", "1"),
  *_share("stage 1", "step1"),
  *_step("stage 2, captions of 48, images grouped by 2", "grouped"),
  *_step("stage 2, 4 prompts in each block", "prompts"),
  Figure("encoding, images/s", "encode", "images_per_s", "images_per_s", target="1.8"),
  Figure("encoding, captions/s", "encode", "captions_per_s", "captions_per_s", target="3"),
  Figure("encoding, memory, MiB", "encode", "peak_rss_mib", "peak_rss_mib", kind="memory"),
  *_step("stage 2, bfloat16", "bfloat16_step2", "1.5", "1"),
  *_step("stage 1, bfloat16", "bfloat16_step1"),
  Figure("encoding, bfloat16, images/s", "bfloat16_encode", "images_per_s"),
  Figure("encoding, bfloat16, captions/s", "bfloat16_encode", "captions_per_s"),
  *_metrics("rstp"),
  *_metrics("cuhk"),
  *_metrics("icfg", "10"),
  Figure("stage 1 at work, cold, s", "startup", "start_cold_s", kind="seconds", target="< 25"),
  Figure("stage 1 at work, warm, s", "startup", "start_warm_s", kind="seconds", target="< 10"),
  Figure("evaluation at work, cold, s", "startup", "evaluate_cold_s", kind="seconds"),
  Figure("evaluation at work, warm, s", "startup", "evaluate_warm_s", kind="seconds", target="< 5"),
  Figure("training run, fraction of time between programs", "overlap", "idle_share", kind="memory"),
  Figure("reading, images/s", "loader", "read_images_per_s", reference="train_images_per_s", target="10"),
  Figure("reading and augmentation, images/s", "loader", "augment_images_per_s", reference="train_images_per_s",
         target="4"),
  Figure("preparation, images/s", "loader", "prepare_images_per_s", reference="resize_images_per_s", target="1.3"),
)  # fmt: skip


def table(run):
  """Returns the run's metrics as a text table of medians over rounds; a ratio is the median of the rounds' ratios."""
  lines = [f"{'':50}{'reference':>12}{'ours':>12}{'ratio':>8}{'target':>8}"]
  for figure in FIGURES:
    pairs = [figure.pair(results) for results in run["rounds"]]
    theirs, mine = ([pair[side] for pair in pairs if pair[side] is not None] for side in (0, 1))
    if not theirs and not mine:
      continue
    ratios = [figure.ratio(*pair) for pair in pairs if all(pair)]
    shown = "".join(f"{_shown(values):>{width}}" for values, width in ((theirs, 12), (mine, 12), (ratios, 8)))
    lines.append(f"{figure.text:50}{shown}{figure.target:>8}".rstrip())
  return "\n".join(lines)


def _shown(values):
  if not values:
    return ""
  value = float(np.median(values))
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 0.1 else f"{value:.2f}"


def is_scaled(run, baseline):
  """Whether all rounds of both runs have a best matrix rate to compare by."""
  return all(_best_rate(results) for one in (run, baseline) for results in one["rounds"])


def moved(run, baseline):
  """Returns a line for each of our figures that moved beyond noise since the baseline, an earlier run.

  Rates and seconds are scaled by the best matrix rate of their own round first, so that another machine's speed does
  not count, unless a round has none. Beyond noise are medians that differ by more than NOISE, and of which
  neither lies within what the rounds of the other run span.
  """
  scaled = is_scaled(run, baseline)
  lines = []
  for figure in FIGURES:
    now, before = (_values(figure, one, scaled) for one in (run, baseline))
    if not now or not before or not np.median(before):
      continue
    change = float(np.median(now) / np.median(before))
    apart = not _within(np.median(now), before) and not _within(np.median(before), now)
    if abs(change - 1) > NOISE and apart:
      better = (change > 1) == (figure.kind in ("rate", "share"))
      lines.append(f"{figure.text}: {100 * (change - 1):+.0f}%, {'better' if better else 'worse'}")
  return lines


def _values(figure, run, scaled):
  """Returns our values of a figure, one a round that has it."""
  power = {"rate": -1, "seconds": 1}.get(figure.kind, 0) if scaled else 0
  pairs = ((figure.pair(results)[1], results) for results in run["rounds"])
  return [mine * (_best_rate(results) ** power if power else 1) for mine, results in pairs if mine is not None]


def _within(value, values):
  return min(values) <= value <= max(values)


def _best_rate(results):
  """Returns the best matrix rate that the steps of a round saw, GFLOP/s; None without a step."""
  rates = [both["ours"][BEST_RATE] for both in results.values() if BEST_RATE in both.get("ours", {})]
  return float(np.median(rates)) if rates else None
