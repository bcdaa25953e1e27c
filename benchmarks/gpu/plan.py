"""The measurements of each part, the most important first; one factor is varied at a time."""

import dataclasses
from typing import Any

# Time budget of each part, seconds; --seconds scales them to another total.
BUDGETS = {"correct": 120, "speed": 180, "peer": 120, "profile": 60, "topology": 30}
PARTS = tuple(BUDGETS)
BASE = "ViT-B/16, stage 2, batch 64"
# Tried in this order until a step does not fit into memory.
BATCH_SIZES = (128, 256, 512, 1024, 2048, 4096)
# Fields of config.model for which `auto` must be at least as fast.
CHOICES = (
  {"attention": "xla"}, {"blocks": "loop", "remat": "none"}, {"remat": "dots"}, {"remat": "full"},
  {"blocks": "loop", "remat": "dots"},
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Measurement:
  """One measurement or check.

  Attributes:
    part: one of PARTS.
    name: unique within the part.
    call: the function that computes it, "module.function" of this package, called with the settings.
    settings: arguments by name.
    series: name of a series of increasing batch sizes; after one that does not fit, larger ones are not tried.
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
  """Returns the Measurement of a training step."""
  name = f"{variant}, stage {stage}, batch {batch_size}"
  settings = {"variant": variant, "stage": stage, "batch_size": batch_size, **choices}
  described = "".join(f", {field}={value}" for field, value in choices.items())
  series = "" if choices else f"{variant}, stage {stage}"
  return Measurement("speed", name + described, "speed.step", settings, series)


def peer(form, variant="ViT-B/16", stage=2, batch_size=64):
  """Returns the Measurement of the reference's step, which runs in its own process."""
  name = f"{variant}, stage {stage}, batch {batch_size}, {form}"
  return Measurement("peer", name, "", {"form": form, "variant": variant, "stage": stage, "batch_size": batch_size})


CORRECT = (
  *(Measurement("correct", f"cuDNN attention, {mask}", "attention.against_xla", {"is_causal": causal, "length": length})
    for mask, causal, length in (("image, 197 tokens", False, 197), ("captions, 81 tokens, causal", True, 81),
                                 ("captions, 36 tokens, causal", True, 36))),
  *(Measurement("correct", f"CLIP parity, {name}, seed {seed}", "correct.parity_float32", {"name": name, "seed": seed})
    for name in ("quick_gelu", "gelu") for seed in (0, 1)),
  *(Measurement("correct", f"CLIP parity, bfloat16, seed {seed}", "correct.parity_bfloat16", {"seed": seed})
    for seed in (0, 1)),
  Measurement("correct", "losses", "correct.loss_values"),
  Measurement("correct", "metrics", "correct.metric_values"),
  Measurement("correct", "prompted encoders", "correct.prompted_encoders"),
  *(Measurement("correct", f"20 steps of stage {stage}", "correct.twenty_steps", {"stage": stage}) for stage in (2, 1)),
  Measurement("correct", "first step of ViT-B/16, float32", "correct.first_step", {"precision": "float32"}),
  Measurement("correct", "first step of ViT-B/16, bfloat16", "correct.first_step", {"precision": "bfloat16"}),
  *(Measurement("correct", f"save and resume{name}", "correct.resume",
                {"deterministic": deterministic, "keeps_programs": keeps})
    for name, deterministic, keeps in ((", deterministic, recompiled", True, False), ("", False, True),
                               (", recompiled", False, False))),
  Measurement("correct", "export and reload", "correct.export_and_reload"),
  Measurement("correct", "evaluation", "correct.evaluation"),
)  # fmt: skip

SPEED = (
  Measurement("speed", "card", "card.describe"),
  step(),
  step(batch_size=256),
  step(variant="ViT-L/14"),
  step(stage=1),
  *(step(**choice) for choice in CHOICES),
  step(deterministic=True),
  Measurement("speed", "loader", "host.loader_speed", {"variant": "ViT-B/16", "batch_size": 64}),
  Measurement("speed", "encoding", "host.encoding", {"variant": "ViT-B/16", "batch_size": 512}),
  step(variant="ViT-L/14", stage=1),
  step(prompt_length=4, prompt_depth=12),
  *(step(batch_size=size) for size in BATCH_SIZES if size != 256),
  *(step(variant="ViT-L/14", batch_size=size) for size in BATCH_SIZES),
  *(step(stage=1, batch_size=size) for size in BATCH_SIZES),
  Measurement("speed", "command to first step, cold and warm", "host.startup"),
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
  Measurement("profile", BASE, "profiling.profile", {"variant": "ViT-B/16", "batch_size": 64}),
  Measurement("profile", "ViT-L/14, stage 2, batch 64", "profiling.profile", {"variant": "ViT-L/14", "batch_size": 64}),
)

TOPOLOGY = (Measurement("topology", "jax_mock_gpu_topology=2x8x1", "topology.slices", {"topology": "2x8x1"}),)

FULL = (*CORRECT, *SPEED, *PEER, *PROFILE, *TOPOLOGY)

_TINY = {"variant": "tiny", "batch_size": 8}
# Everything once with the tiny variant, which takes seconds on a CPU.
SHORT = (
  *(one for one in CORRECT
    if one.name in ("losses", "metrics", "prompted encoders", "export and reload", "evaluation")),
  Measurement("correct", "save and resume", "correct.resume",
      {"deterministic": True, "keeps_programs": True, "case": "stage1", "num_steps": 2}),
  # The same program as the step below, so that it is compiled once.
  Measurement("correct", "first step, bfloat16", "correct.first_step", {"precision": "bfloat16", "is_short": True}),
  Measurement("speed", "card", "card.describe", {"side": 256}),
  step(**_TINY),
  Measurement("speed", "loader", "host.loader_speed", {**_TINY, "num_images": 32, "num_steps": 2}),
  Measurement("speed", "encoding", "host.encoding", {**_TINY, "num_images": 8, "num_captions": 8, "repeat": 1}),
  Measurement("peer", "tiny, stage 2, batch 8, strongest", "", {**_TINY, "form": "strongest", "stage": 2}),
  Measurement("profile", "tiny, stage 2, batch 8", "profiling.profile", _TINY),
)  # fmt: skip


def groups(measurements):
  """Returns [(part, [Measurement])] in the order of a run: our step and the reference's first, then part by part.

  The GPU itself is measured before, since fractions are relative to its matrix rate.
  """
  speed, peers = _of(measurements, "speed"), _of(measurements, "peer")
  cut = 1 + next((at for at, one in enumerate(speed) if one.name == BASE), len(speed))
  return [
    ("speed", speed[:cut]), ("peer", peers[:2]), ("correct", _of(measurements, "correct")), ("speed", speed[cut:]),
    ("peer", peers[2:]), ("profile", _of(measurements, "profile")),
    ("topology", _of(measurements, "topology")),
  ]  # fmt: skip


def short_groups(measurements):
  """Returns the groups of the short form: all of ours in one process, with the time of all of their parts."""
  ours = [one for part in ("speed", "correct", "profile") for one in _of(measurements, part)]
  return [("ours", ours), ("peer", _of(measurements, "peer"))]


def _of(measurements, part):
  return [one for one in measurements if one.part == part]
