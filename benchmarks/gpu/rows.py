"""The rows of each part, the most important first; one factor is varied at a time."""

import dataclasses
from typing import Any

# Time budget of each part, seconds; --seconds scales them to another total.
BUDGETS = {"correct": 120, "speed": 180, "peer": 120, "profile": 60, "topology": 30}
PARTS = tuple(BUDGETS)
BASE = "ViT-B/16, stage 2, batch 64"
# Doubled until a step does not fit.
BATCH_SIZES = (128, 256, 512, 1024, 2048, 4096)
# Fields of config.model for which `auto` must be at least as fast.
CHOICES = (
  {"attention": "xla"}, {"blocks": "loop", "remat": "none"}, {"remat": "dots"}, {"remat": "full"},
  {"blocks": "loop", "remat": "dots"},
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
  """One measurement or check.

  Attributes:
    part: of PARTS.
    name: of it, which no other row of the part has.
    call: what computes it: "module.function" of this package, called with the settings.
    settings: arguments by name.
    series: rows of one series grow, and behind one that does not fit none is tried.
  """

  part: str
  name: str
  call: str
  settings: dict[str, Any] = dataclasses.field(default_factory=dict)
  series: str = ""

  @property
  def key(self):
    return f"{self.part}/{self.name}"


def step(variant="ViT-B/16", stage=2, batch_size=64, **choices):
  """Returns the Row of a training step."""
  name = f"{variant}, stage {stage}, batch {batch_size}"
  settings = {"variant": variant, "stage": stage, "batch_size": batch_size, **choices}
  described = "".join(f", {field}={value}" for field, value in choices.items())
  series = "" if choices else f"{variant}, stage {stage}"
  return Row("speed", name + described, "speed.step", settings, series)


def peer(form, variant="ViT-B/16", stage=2, batch_size=64):
  """Returns the Row of the reference's step, which a process of its own measures."""
  name = f"{variant}, stage {stage}, batch {batch_size}, {form}"
  return Row("peer", name, "", {"form": form, "variant": variant, "stage": stage, "batch_size": batch_size})


CORRECT = (
  *(Row("correct", f"cuDNN attention, {mask}", "attention.against_xla", {"is_causal": causal, "length": length})
    for mask, causal, length in (("image, 197 tokens", False, 197), ("captions, 81 tokens, causal", True, 81),
                                 ("captions, 36 tokens, causal", True, 36))),
  *(Row("correct", f"CLIP parity, {name}, seed {seed}", "correct.parity_float32", {"name": name, "seed": seed})
    for name in ("quick_gelu", "gelu") for seed in (0, 1)),
  *(Row("correct", f"CLIP parity, bfloat16, seed {seed}", "correct.parity_bfloat16", {"seed": seed})
    for seed in (0, 1)),
  Row("correct", "losses", "correct.loss_values"),
  Row("correct", "metrics", "correct.metric_values"),
  Row("correct", "prompted encoders", "correct.prompted_encoders"),
  *(Row("correct", f"20 steps of stage {stage}", "correct.twenty_steps", {"stage": stage}) for stage in (2, 1)),
  Row("correct", "first step of ViT-B/16, float32", "correct.first_step", {"precision": "float32"}),
  Row("correct", "first step of ViT-B/16, bfloat16", "correct.first_step", {"precision": "bfloat16"}),
  *(Row("correct", f"save and resume{name}", "correct.resume", {"deterministic": value, "keeps_programs": keeps})
    for name, value, keeps in ((", deterministic, recompiled", True, False), ("", False, True),
                               (", recompiled", False, False))),
  Row("correct", "export and reload", "correct.export_and_reload"),
  Row("correct", "evaluation", "correct.evaluation"),
)  # fmt: skip

SPEED = (
  Row("speed", "card", "card.describe"),
  step(),
  step(batch_size=256),
  step(variant="ViT-L/14"),
  step(stage=1),
  *(step(**choice) for choice in CHOICES),
  step(deterministic=True),
  Row("speed", "loader", "host.loader_speed", {"variant": "ViT-B/16", "batch_size": 64}),
  Row("speed", "encoding", "host.encoding", {"variant": "ViT-B/16", "batch_size": 512}),
  step(variant="ViT-L/14", stage=1),
  step(prompt_length=4, prompt_depth=12),
  *(step(batch_size=size) for size in BATCH_SIZES if size != 256),
  *(step(variant="ViT-L/14", batch_size=size) for size in BATCH_SIZES),
  *(step(stage=1, batch_size=size) for size in BATCH_SIZES),
  Row("speed", "command to first step, cold and warm", "host.startup"),
  *(step(variant="ViT-L/14", stage=1, batch_size=size) for size in BATCH_SIZES),
)

PEER = (
  peer("strongest"),
  peer("published"),
  peer("strongest", batch_size=256),
  peer("strongest", variant="ViT-L/14"),
  peer("published", variant="ViT-L/14"),
  peer("strongest", stage=1),
)

PROFILE = (
  Row("profile", BASE, "profiling.profile", {"variant": "ViT-B/16", "batch_size": 64}),
  Row("profile", "ViT-L/14, stage 2, batch 64", "profiling.profile", {"variant": "ViT-L/14", "batch_size": 64}),
)

TOPOLOGY = (Row("topology", "jax_mock_gpu_topology=2x8x1", "topology.slices", {"topology": "2x8x1"}),)

FULL = (*CORRECT, *SPEED, *PEER, *PROFILE, *TOPOLOGY)

_TINY = {"variant": "tiny", "batch_size": 8}
# Everything once, of the tiny variant, in seconds on a CPU.
SHORT = (
  *(row for row in CORRECT
    if row.name in ("losses", "metrics", "prompted encoders", "export and reload", "evaluation")),
  Row("correct", "save and resume", "correct.resume",
      {"deterministic": True, "keeps_programs": True, "case": "stage1", "num_steps": 2}),
  # The program of the step below, which is in the cache by then.
  Row("correct", "first step, bfloat16", "correct.first_step", {"precision": "bfloat16", "is_short": True}),
  Row("speed", "card", "card.describe", {"side": 256}),
  step(**_TINY),
  Row("speed", "loader", "host.loader_speed", {**_TINY, "num_images": 32, "num_steps": 2}),
  Row("speed", "encoding", "host.encoding", {**_TINY, "num_images": 8, "num_captions": 8, "repeat": 1}),
  Row("peer", "tiny, stage 2, batch 8, strongest", "", {**_TINY, "form": "strongest", "stage": 2}),
  Row("profile", "tiny, stage 2, batch 8", "profiling.profile", _TINY),
)  # fmt: skip


def groups(rows):
  """Returns [(part, [Row])] in the order of a run: ours and the reference's step first, then part by part.

  The card comes before all, since fractions are of its own matrix rate.
  """
  speed, peers = _of(rows, "speed"), _of(rows, "peer")
  cut = 1 + next((at for at, row in enumerate(speed) if row.name == BASE), len(speed))
  return [
    ("speed", speed[:cut]), ("peer", peers[:2]), ("correct", _of(rows, "correct")), ("speed", speed[cut:]),
    ("peer", peers[2:]), ("profile", _of(rows, "profile")), ("topology", _of(rows, "topology")),
  ]  # fmt: skip


def short_groups(rows):
  """Returns the same of the short form: all of ours in one process, in the time of all of its parts."""
  ours = [row for part in ("speed", "correct", "profile") for row in _of(rows, part)]
  return [("ours", ours), ("peer", _of(rows, "peer"))]


def _of(rows, part):
  return [row for row in rows if row.part == part]
