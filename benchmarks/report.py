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
class Metric:
  """A metric that a benchmark reports.

  Attributes:
    label: its name in the table.
    benchmark: the benchmark that reports it.
    ours: its field in our line of JSON.
    peer: its field in the reference's line, or "a-b" for the difference of two fields; "" if there is none.
    reference: the field of the reference's value, if our line holds that too; otherwise "".
    kind: "rate" (higher is better, scales with the machine's speed), "seconds" (lower is better, scales inversely),
      "fraction" (higher is better) or "memory" (lower is better), which do not depend on the machine's speed.
    target: of the ratio, or of our own value if there is no reference; as shown in the table.
  """

  label: str
  benchmark: str
  ours: str
  peer: str = ""
  reference: str = ""
  kind: str = "rate"
  target: str = ""

  def pair(self, results):
    """Returns (reference, ours) from one round's results; None for a value that is missing."""
    both = results.get(self.benchmark, {})
    mine = both.get("ours", {})
    theirs = mine.get(self.reference) if self.reference else _field(both.get("peer", {}), self.peer)
    return theirs, mine.get(self.ours)

  def ratio(self, theirs, mine):
    """Returns how many times better ours is."""
    return mine / theirs if self.kind in ("rate", "fraction") else theirs / mine


def _field(values, name):
  first, _, second = name.partition("-")
  if first not in values or (second and second not in values):
    return None
  return values[first] - values[second] if second else values[first]


def _step(label, benchmark, examples="", memory=""):
  peer = bool(examples)
  return (
    Metric(f"{label}, examples/s", benchmark, "examples_per_s", "examples_per_s" if peer else "", target=examples),
    Metric(
      f"{label}, memory, MiB", benchmark, "peak_rss_mib", "peak_rss_mib" if peer else "", kind="memory", target=memory
    ),
  )  # fmt: skip


def _fraction(label, benchmark):
  return (
    Metric(
      f"{label}, fraction of the best matrix rate", benchmark, "model_share_of_best", kind="fraction", target="0.80"
    ),
    Metric(f"{label}, the same, of computed products", benchmark, "share_of_best", kind="fraction"),
  )


def _retrieval_metrics(split, target=""):
  return (
    Metric(f"metrics, size of {split}, s", f"metrics_{split}", "median_s", "median_s", kind="seconds", target=target),
    Metric(
      f"metrics, size of {split}, memory, MiB", f"metrics_{split}", "peak_beyond_mib", "peak_rss_mib-rss_before_mib",
      kind="memory",
    ),
  )  # fmt: skip


METRICS = (
  *_step("stage 2", "step2", "1.7", "1"),
  *_fraction("stage 2", "step2"),
  *_step("stage 1", "step1", "1.8", "1"),
  *_fraction("stage 1", "step1"),
  *_step("stage 2, captions of 48, images grouped by 2", "grouped"),
  *_step("stage 2, 4 prompts in each block", "prompts"),
  Metric("encoding, images/s", "encode", "images_per_s", "images_per_s", target="1.8"),
  Metric("encoding, captions/s", "encode", "captions_per_s", "captions_per_s", target="3"),
  Metric("encoding, memory, MiB", "encode", "peak_rss_mib", "peak_rss_mib", kind="memory"),
  *_step("stage 2, bfloat16", "bfloat16_step2", "1.5", "1"),
  *_step("stage 1, bfloat16", "bfloat16_step1"),
  Metric("encoding, bfloat16, images/s", "bfloat16_encode", "images_per_s"),
  Metric("encoding, bfloat16, captions/s", "bfloat16_encode", "captions_per_s"),
  *_retrieval_metrics("rstp"),
  *_retrieval_metrics("cuhk"),
  *_retrieval_metrics("icfg", "10"),
  Metric("stage 1 at work, cold, s", "startup", "start_cold_s", kind="seconds", target="< 25"),
  Metric("stage 1 at work, warm, s", "startup", "start_warm_s", kind="seconds", target="< 10"),
  Metric("evaluation at work, cold, s", "startup", "evaluate_cold_s", kind="seconds"),
  Metric("evaluation at work, warm, s", "startup", "evaluate_warm_s", kind="seconds", target="< 5"),
  Metric("training run, fraction of time between programs", "overlap", "idle_share", kind="memory"),
  Metric("reading, images/s", "loader", "read_images_per_s", reference="train_images_per_s", target="10"),
  Metric("reading and augmentation, images/s", "loader", "augment_images_per_s", reference="train_images_per_s",
         target="4"),
  Metric("preparation, images/s", "loader", "prepare_images_per_s", reference="resize_images_per_s", target="1.3"),
)  # fmt: skip


def table(run):
  """Returns the run's metrics as a text table of medians over rounds; a ratio is the median of the rounds' ratios."""
  lines = [f"{'':50}{'reference':>12}{'ours':>12}{'ratio':>8}{'target':>8}"]
  for metric in METRICS:
    pairs = [metric.pair(results) for results in run["rounds"]]
    theirs, mine = ([pair[side] for pair in pairs if pair[side] is not None] for side in (0, 1))
    if not theirs and not mine:
      continue
    ratios = [metric.ratio(*pair) for pair in pairs if all(pair)]
    shown = "".join(f"{_shown(values):>{width}}" for values, width in ((theirs, 12), (mine, 12), (ratios, 8)))
    lines.append(f"{metric.label:50}{shown}{metric.target:>8}".rstrip())
  return "\n".join(lines)


def _shown(values):
  if not values:
    return ""
  value = float(np.median(values))
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 0.1 else f"{value:.2f}"


def is_scaled(run, baseline):
  """Whether every round of both runs has a best matrix rate to scale by."""
  return all(_best_rate(results) for one in (run, baseline) for results in one["rounds"])


def changes(run, baseline):
  """Returns a line for each of our metrics that changed beyond noise since the baseline, an earlier run.

  Rates and seconds are first scaled by the best matrix rate of their own round, so that a faster machine is no change,
  unless a round has none. A change is beyond noise if the medians differ by more than NOISE and neither is within the
  range of the other run's rounds.
  """
  scaled = is_scaled(run, baseline)
  lines = []
  for metric in METRICS:
    now, before = (_values(metric, one, scaled) for one in (run, baseline))
    if not now or not before or not np.median(before):
      continue
    change = float(np.median(now) / np.median(before))
    apart = not _within(np.median(now), before) and not _within(np.median(before), now)
    if abs(change - 1) > NOISE and apart:
      better = (change > 1) == (metric.kind in ("rate", "fraction"))
      lines.append(f"{metric.label}: {100 * (change - 1):+.0f}%, {'better' if better else 'worse'}")
  return lines


def _values(metric, run, scaled):
  """Returns our values of a metric, one per round that has it."""
  power = {"rate": -1, "seconds": 1}.get(metric.kind, 0) if scaled else 0
  pairs = ((metric.pair(results)[1], results) for results in run["rounds"])
  return [mine * (_best_rate(results) ** power if power else 1) for mine, results in pairs if mine is not None]


def _within(value, values):
  return min(values) <= value <= max(values)


def _best_rate(results):
  """Returns the median best matrix rate of a round's step benchmarks, GFLOP/s; None if it has none."""
  rates = [both["ours"][BEST_RATE] for both in results.values() if BEST_RATE in both.get("ours", {})]
  return float(np.median(rates)) if rates else None
