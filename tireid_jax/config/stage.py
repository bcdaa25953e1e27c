"""The fields of a training stage: `stage0`, `stage1` and `stage2` of the config."""

import dataclasses

from tireid_jax.data.sampling import Sampler
from tireid_jax.data.transforms.augment import Augmentation
from tireid_jax.data.transforms.augment_text import TextAugmentation
from tireid_jax.fields import at_least, field, one_of, section
from tireid_jax.losses import LOSSES
from tireid_jax.training.optimizers import Recipe

# Weights of the losses; a loss of weight 0 is not computed.
LossWeights = dataclasses.make_dataclass(
  "LossWeights", [(name, float, field(loss.default_weight, loss.description)) for name, loss in LOSSES.items()]
)


@dataclasses.dataclass(frozen=True)
class StageFields(Recipe):
  """What a stage trains, what it starts from and how it trains. Learning rate, optimizer and schedule: `Recipe`."""

  trains: tuple[str, ...] = field(
    ("params",), 'paths of the variables that are trained: "prompts", "params", "params/image_encoder", ...'
  )
  init_from: str = field(
    "pretrained", '"random", "pretrained", "stage0", "stage1", or any value that `pretrained` may have'
  )
  new_head: bool = field(False, "initialise the identity head anew, even if what the stage starts from has trained one")
  data: str = field("", "data set of this stage, if it is not data.name")
  use_prompts: bool = field(True, "False for plain CLIP, whatever `prompts` says")
  learns_temperature: bool = field(False, "train CLIP's logit_scale and use it instead of `temperature`")
  losses: dict = section(LossWeights)
  batch_size: int = field(64, "captions, each with its image, over all devices", at_least(1))
  microbatch_size: int = field(
    0,
    "captions, over all devices, whose activations are in memory at a time; the gradient is exactly that of the whole "
    "batch. It must divide batch_size, and be a multiple of the devices along data and fsdp, times "
    "sampler.captions_per_image if images are sampled. 0 for the whole batch, which saves the second forward pass",
  )
  sampler: dict = section(Sampler)
  precision: str = field(
    "auto",
    'arithmetic of the encoders: "float32"; "bfloat16", which is faster on CPUs with avx512_bf16; or "auto": bfloat16 '
    "on accelerators and float32 on CPU",
    one_of("auto", "float32", "bfloat16"),
  )
  evaluate_every_epochs: int = field(1, "epochs between evaluations on the selection split", at_least(1))
  augment: dict = section(Augmentation)
  augment_text: dict = section(TextAugmentation)
