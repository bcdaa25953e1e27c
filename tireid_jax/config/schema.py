"""Every section of the config, from its declarations: defaults and checks."""

import dataclasses
from typing import Any

from tireid_jax import fields
from tireid_jax.config.stage import StageFields
from tireid_jax.config.study import Study
from tireid_jax.fields import ABOVE_0, SEED, WHOLE_NUMBERS, at_least, field, must, one_of, section
from tireid_jax.metrics import SELECTABLE
from tireid_jax.models.execution import ATTENTIONS, BLOCKS, REMATS
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.weights.positions import METHODS

STAGES = (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Data:
  """Which data set, and how its images and captions are prepared."""

  name: str = field("", "name of the data set")
  image_size: tuple[int, int] = field(
    (384, 128),
    "(height, width) in pixels",
    must("(height, width) in pixels", lambda size: len(size) == 2 and all(isinstance(n, int) and n >= 1 for n in size)),
  )
  use_exif: bool = field(True, "whether `prepare` rotates photographs as their EXIF data says")
  tokenizer: str = field(
    "", "\"\" for CLIP's, or a folder or hub id with another vocabulary, which transformers' CLIPTokenizer can read"
  )
  caption_lengths: tuple[int, ...] = field(
    (32, 48, 64, 77),
    "tokens; a batch is padded to the smallest of these that holds its longest caption",
    must(
      "whole numbers that ascend from at least 3 and end with 77",
      lambda lengths: (
        WHOLE_NUMBERS(lengths) == "" and list(lengths) == sorted(set(lengths)) and lengths[0] >= 3 and lengths[-1] == 77
      ),
    ),
  )
  val_identities: int = field(
    0, "training identities that are held out for validation, for a data set without a validation split"
  )


@dataclasses.dataclass(frozen=True)
class Model:
  """CLIP's architecture, and how it is computed."""

  variant: str = field("ViT-B/16", 'a name in models/variants.py, or "from_weights" for that of the weights')
  num_heads: tuple[int, int] = field(
    (0, 0),
    "attention heads of the (image, text) encoder, for weights that do not tell; 0 for the variant's",
    must(
      "two whole numbers, (image, text), 0 for the variant's",
      lambda heads: len(heads) == 2 and all(isinstance(n, int) and n >= 0 for n in heads),
    ),
  )
  activation: str = field(
    "",
    '"quick_gelu" or "gelu", for weights that do not tell; "" for the variant\'s',
    one_of("", "quick_gelu", "gelu"),
  )
  stride: int = field(
    0, "pixels from one image patch to the next; 0 for the patch size, smaller values for overlapping patches"
  )
  position_resize: str = field(
    "bilinear", 'interpolation of the image position table: "bilinear", or "bicubic" as in open_clip', one_of(*METHODS)
  )
  blocks: str = field(
    "auto",
    'how transformer blocks are compiled: "loop", one compiled block that runs repeatedly; "unrolled", faster on TPUs '
    'and slower to compile; or "auto": unrolled on accelerators, a loop on CPU',
    one_of(*BLOCKS),
  )
  remat: str = field(
    "auto",
    'rematerialisation, what the backward pass recomputes: "none"; "dots", everything but matrix products and '
    'attention; "full"; or "auto": dots in a loop, where it saves time as well as memory, and none if unrolled',
    one_of(*REMATS),
  )
  attention: str = field(
    "auto",
    '"xla"; "cudnn" (NVIDIA GPUs, bfloat16); or "auto": cudnn if a trial run succeeds. Exported models use "xla"',
    one_of(*ATTENTIONS),
  )


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Devices along each axis. A batch is split over data and fsdp; weights and their moments over fsdp and model.

  `parallel.mesh.make_mesh` checks the values, since what is allowed depends on the devices.
  """

  data: int = field(-1, "devices along the data axis; -1 on one axis for all remaining devices")
  fsdp: int = field(1, "devices along the FSDP axis: weights are sharded, and gathered where a block needs them")
  model: int = field(1, "devices along the tensor-parallel axis: heads and channels are split")
  dcn_axis: str = field("data", 'the axis that crosses the network between TPU slices or GPU nodes: "data" or "fsdp"')
  num_slices: int = field(
    0, "0 for the slices that the devices report; N splits CPU devices into N slices, to compare results"
  )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """How splits are embedded."""

  batch_size: int = field(128, "images or captions at a time", at_least(1))


@dataclasses.dataclass(frozen=True)
class Run:
  """The top level of the config, without the stages."""

  ablation: str = field("", "row of ABLATIONS in configs/common.py, as --config=configs/cuhk.py:ROW")
  seed: int = field(0, "random seed of a run: initial values, augmentation, dropout and the data order", SEED)
  data_dir: str = field("data", "folder of prepared data sets")
  pretrained: str = field(
    "",
    'where the weights come from: a file, folder or hub id of a CLIP model, or "toy_clip", that of this package; a '
    'workdir or stage folder of another run, also in a bucket (gs://...); or "stage0" for stage 0 of the same workdir',
  )
  pretrained_prefix: str = field(
    "",
    "for a file with several CLIPs, such as a model and its moving average: the prefix of the tensors to read, as "
    '"model_ema."; "." for those without a prefix, "" if there is only one model',
  )
  deterministic: bool = field(
    False,
    "on GPUs, use only operations that give bit-equal results every time, and no autotuning: slower, but a resumed run "
    "ends bit-equal to an uninterrupted one, as it always does on CPUs",
  )
  temperature: float = field(0.02, "softmax temperature of SDM and ITC, unless the stage learns it", ABOVE_0)
  stages: tuple[int, ...] = field(
    (1, 2),
    "the stages that --stage=all runs",
    must(
      "a tuple of stages, as (1,2); the stages are 0, 1 and 2",
      lambda numbers: WHOLE_NUMBERS(numbers) == "" and set(numbers) <= set(STAGES),
    ),
  )
  select_on: str = field(
    "val",
    'the split on which the best checkpoint is selected: "val"; "test", as most published results do; or "last" for '
    "no selection",
    one_of("val", "test", "last"),
  )
  select_by: str = field(
    "t2i/R@1",
    "the metric by which the best checkpoint is selected: text to image (t2i/...) or image to text (i2t/...), and a "
    "metric of tireid_jax/metrics.py",
    one_of(*SELECTABLE),
  )
  data: dict = section(Data)
  model: dict = section(Model)
  prompts: dict = section(PromptSpec)
  mesh: dict = section(Mesh)
  evaluation: dict = section(Evaluation)
  study: dict = section(Study)
  log_every_steps: int = field(50, "steps between log lines", at_least(1))
  checkpoint_every_steps: int = field(
    1000, "steps between checkpoints, in addition to the one at the end of each epoch", at_least(1)
  )
  checkpoint_every_minutes: float = field(
    0.0, "minutes after which a checkpoint is saved in any case; 0 for steps and epochs alone", at_least(0)
  )


def default_config() -> dict[str, Any]:
  """Returns the config with the default of every field, as nested dicts."""
  return {**fields.defaults(Run), **{f"stage{number}": fields.defaults(StageFields) for number in STAGES}}
