"""Which rows each table has. A row is an entry of ABLATIONS in configs/common.py, or a result derived from one."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from tireid_jax.configs import common
from tireid_jax.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a table.

  Attributes:
    name: shown in the table.
    ablation: of ABLATIONS, "" for the config as it is.
    derived: what is scored: "" for the last stage's model; otherwise a name in scoring.DERIVED.
    dataset: what the row is trained on, "" for the config's data set.
    test_dataset: what it is tested on, "" for that.
    own_rate: whether the row is about its learning rate, so that tuning may change only its length.
  """

  name: str
  ablation: str = ""
  derived: str = ""
  dataset: str = ""
  test_dataset: str = ""
  own_rate: bool = False

  def config(self, base: ConfigDict) -> ConfigDict:
    """Returns the config of the row, from that of the study."""
    return common.with_ablation(base.copy_and_resolve_references(), self.ablation)


@dataclasses.dataclass(frozen=True)
class Figure:
  """A line chart of the rows' R@1 and mAP.

  Attributes:
    x_name, x_label: of the x axis: a short name, and what it stands for.
    x_of: a row's config -> x. Of rows with the same x, the figure has the first.
  """

  x_name: str
  x_label: str
  x_of: Callable[[ConfigDict], int]


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of experiments.

  Attributes:
    title: of the written table.
    rows: in order. The first one is the row that the others are compared with.
    figure: None if it has none.
    notes: what a reader has to know about single rows.
    compares: whether rows are compared with the first one.
  """

  title: str
  rows: tuple[Row, ...]
  figure: Figure | None = None
  notes: tuple[str, ...] = ()
  compares: bool = True


# In the names of rows that take as many steps as the two stages, or as stage 2.
STEPS = (", steps of both stages", ", steps of stage 2")

TWO_STAGES = Row("two stages")
ZERO_SHOT = Row("zero-shot", "no_prompts", derived="zero_shot")
DIRECT = Row("direct fine-tuning", "no_prompts")
DIRECT_LONG = Row("direct fine-tuning, steps of both stages", "no_prompts_long")
AFTER_STAGE_1 = Row("after stage 1", "prompts_only")
RANDOM_PROMPTS = Row("random frozen prompts, steps of both stages", "no_stage1_long")
HEAD_FIRST = Row("identity head first, then all", "head_first")
JOINT = Row("prompts and encoders together, steps of both stages", "joint_long")

_RECIPES = (
  "Where prompts and encoders are trained in one stage, the prompts have stage 1's learning rate, Adam epsilon and "
  "weight decay, and stage 2's warm-up and schedule."
)

TABLES = {
  "main": Table(
    "Two stages and direct fine-tuning",
    (TWO_STAGES, DIRECT_LONG, RANDOM_PROMPTS, DIRECT, AFTER_STAGE_1, ZERO_SHOT),
  ),
  "components": Table(
    "What each component adds",
    (
      TWO_STAGES,
      Row("prompts removed after stage 2", derived="without_prompts"),
      Row("prompts removed before stage 2", "drop_prompts"),
      RANDOM_PROMPTS,
      Row("random frozen prompts", "no_stage1"),
      Row("prompts only, steps of both stages, losses of stage 1", "prompts_only_long"),
      Row("prompts only, steps of both stages, losses of stage 2", "prompts_only_long_stage2_losses"),
      AFTER_STAGE_1,
      DIRECT_LONG,
      DIRECT,
      *(
        Row(f"direct, learning rate / {factor}, steps of both stages", f"no_prompts_long_lr_{factor}", own_rate=True)
        for factor in (3, 10, 30)
      ),
      Row("direct, interpolated with the pretrained weights (WiSE-FT)", "no_prompts_long", derived="interpolated"),
      HEAD_FIRST,
      ZERO_SHOT,
    ),
    notes=(
      "Stage 1 leaves the encoders unchanged, so the row without prompts from stage 2 on repeats direct fine-tuning.",
      "WiSE-FT (arXiv 2109.01903): the fraction of the fine-tuned weights, from 0 to 1, is selected on the validation "
      "split; without one it is 0.5.",
      "Learning rates / 3, / 10 and / 30 are fractions of the config's, and are not tuned where the others are.",
      _RECIPES,
    ),
  ),
  "length": Table(
    "Prompt length",
    (
      TWO_STAGES,
      *(Row(f"{n} token{'s' if n > 1 else ''}", f"prompt_length_{n}") for n in (1, 2, 4, 8, 16)),
      Row("0 tokens: direct fine-tuning, steps of both stages", "no_prompts_long"),
      Row("0 tokens: direct fine-tuning, steps of stage 2", "no_prompts"),
    ),
    figure=Figure("P", "prompt tokens per block", lambda config: config.prompts.image_length),
  ),
  "depth": Table(
    "Prompt depth",
    (
      TWO_STAGES,
      Row("first block", "shallow"),
      *(Row(f"first {quarters}/4 of the blocks", f"depth_{quarters}_of_4") for quarters in (1, 2, 3)),
      Row("no block: direct fine-tuning, steps of both stages", "no_prompts_long"),
    ),
    figure=Figure(
      "N", "blocks with prompts", lambda config: config.prompts.depth if config.prompts.image_length else 0
    ),
  ),
  "modality": Table(
    "Prompts in one encoder or both",
    (
      TWO_STAGES,
      Row("image encoder only", "image_prompts_only"),
      Row("text encoder only", "text_prompts_only"),
      DIRECT_LONG,
    ),
  ),
  "order": Table(
    "Order of the stages",
    (
      TWO_STAGES,
      JOINT,
      Row("encoders first, then prompts, losses of stage 1", "reversed"),
      Row("encoders first, then prompts, losses of stage 2", "reversed_stage2_losses"),
      HEAD_FIRST,
      DIRECT_LONG,
    ),
    notes=(_RECIPES,),
  ),
  "losses": Table(
    "Losses of both stages",
    (
      TWO_STAGES,
      Row("stage 1 with SDM", "stage1_sdm"),
      Row("stage 1 with SDM and identity", "stage1_sdm_id"),
      Row("stage 1 with SDM and identity, new head in stage 2", "stage1_sdm_id_new_head"),
      Row("stage 2 without identity", "stage2_no_identity"),
      DIRECT_LONG,
      Row("direct without identity, steps of both stages", "no_prompts_long_no_identity"),
      RANDOM_PROMPTS,
      Row("random frozen prompts without identity, steps of both stages", "no_stage1_long_no_identity"),
    ),
    notes=(
      "After a stage 1 with the identity loss, stage 2 continues with its head. The row with a new head separates the "
      "effect of that loss on the prompts from that of a trained head.",
    ),
  ),
}
TRANSFER = "transfer"
NAMES = (*TABLES, TRANSFER)


def find(name: str) -> Table:
  """Returns a table other than `transfer` by name; raises UserError with the closest name for an unknown one."""
  if name not in TABLES:
    raise UserError(f"--table={name}: there is no such table{did_you_mean(name, NAMES)}; all: {', '.join(NAMES)}")
  return TABLES[name]
