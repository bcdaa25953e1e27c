"""A small CLIP, a batch and a training step, for tests of training."""

import functools

import jax
import jax.numpy as jnp

from configs import toy
from tireid_jax.data.transforms.augment import augment, normalise
from tireid_jax.data.transforms.augment_text import augment_text
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.execution import Execution
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.training import accumulate, optimizers, stages
from tireid_jax.training.state import TrainState
from tireid_jax.training.train_step import make_loss, make_train_step

SMALL = Variant(Tower(32, 3, 2), Tower(32, 3, 2), patch_size=4, embedding_size=16, native_image_size=(16, 16))
SIZE = (32, 16)
NUM_IDENTITIES = 5


def make_stage(number, **changes):
  config = toy.get_config()
  config[f"stage{number}"].sampler.kind = "captions"  # the sampler that every loss supports
  config[f"stage{number}"].update(changes)
  return stages.from_config(config, number)


def make_batch(batch_size=8, length=12):
  keys = jax.random.split(jax.random.key(7), 2)
  tokens = jax.random.randint(keys[1], (batch_size, length), 1, 400)
  return {
    "images": jax.random.randint(keys[0], (batch_size, *SIZE, 3), 0, 256).astype(jnp.uint8),
    "tokens": tokens.at[:, 0].set(49406).at[:, -1].set(49407),
    "person_id": jnp.arange(batch_size, dtype=jnp.int32) % NUM_IDENTITIES,
  }


class Setup:
  """State, labels, loss and step of a stage, not compiled; without augmentation unless `augments` is set."""

  def __init__(
    self, stage, *, prompts=PromptSpec(3, 3, depth=3), variant=SMALL, augments=False, encode_batch=accumulate.at_once,
    **execution,
  ):  # fmt: skip
    self.stage = stage
    self.model = CLIP(variant, SIZE, prompts if stage.use_prompts else PromptSpec(), Execution(**execution))
    variables = jax.jit(init_variables, static_argnums=0)(self.model, jax.random.key(0))
    if stage.uses_identities:
      kernel = 0.001 * jax.random.normal(jax.random.key(5), (variant.embedding_size, NUM_IDENTITIES))
      variables["params"]["id_head"] = {"kernel": kernel, "bias": jnp.zeros(NUM_IDENTITIES)}
    self.labels = stage.labels(variables)
    self.optimizer = optimizers.make_optimizer(stage, self.labels, steps_per_epoch=10)
    trained, _ = stages.partition(variables, self.labels)
    self.state = TrainState(jnp.int32(0), variables, self.optimizer.init(trained))
    self.loss = make_loss(
      self.model,
      stage.active_losses,
      augment=functools.partial(augment, **stage.augment)
      if augments
      else lambda key, images, indices: normalise(images),
      augment_text=functools.partial(augment_text, **stage.augment_text)
      if augments
      else lambda key, tokens, indices: tokens,
      temperature=None if stage.learns_temperature else 0.02,
      encode_batch=encode_batch,
    )
    self.step = make_train_step(self.loss, self.optimizer, self.labels, jax.random.key(0))
