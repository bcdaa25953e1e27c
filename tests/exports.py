"""Small CLIP models, inputs and workdirs for tests of the export."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import toy
from tests.models.trees import SMALL
from tireid_jax.config import values as config_lib
from tireid_jax.models import variants
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.training.state import TrainState
from tireid_jax.workdir import checkpoint, layout

PROMPTS = PromptSpec(3, 2, depth=2)


def random_clip(size, prompts=PromptSpec(), *, variant=SMALL, stride=0):
  """Returns (CLIP module, random variables). No bias is zero, because that could hide a bug."""
  model = CLIP(variant, size, prompts, stride=stride)
  rng = np.random.default_rng(1)

  def values(path, leaf):
    return jnp.asarray(0.1 * rng.standard_normal(leaf.shape) + (path[-1].key == "scale"), jnp.float32)

  shapes = jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
  return model, jax.tree_util.tree_map_with_path(values, shapes)


def images(num, size):
  return np.random.default_rng(2).integers(0, 256, (num, *size, 3)).astype(np.uint8)


def tokens(num, variant=SMALL):
  """Returns i32[num, L] captions of different lengths."""
  rng = np.random.default_rng(3)
  captions = np.zeros((num, variant.text_length), np.int32)
  for index, caption in enumerate(captions):
    length = 3 + index % (variant.text_length - 2)
    caption[:length] = rng.integers(1, variant.end_token - 1, length)
    caption[0], caption[length - 1] = variant.end_token - 1, variant.end_token
  return captions


def write_run(folder, model, variables, *, use_prompts=True, number=2, **metadata):
  """Writes a workdir with one checkpoint of a stage that includes an identity head; `metadata` is stored with it."""
  config = toy.get_config()
  config.data.image_size = model.image_size
  spec = model.prompts
  config.prompts.update(image_length=spec.image_length, text_length=spec.text_length, depth=spec.depth)
  config[f"stage{number}"].use_prompts = use_prompts
  layout.write_config(folder, config, number)
  head = {"kernel": jnp.ones((model.variant.embedding_size, 5)), "bias": jnp.ones(5)}
  variables = {**variables, "params": {**variables["params"], "id_head": head}}
  stored = {"config": config_lib.to_json(config), "variant": variants.to_json(model.variant), "step": 7}
  metadata = {**stored, "stage": number, **metadata}
  with checkpoint.Checkpoints(layout.stage_folder(folder, number)) as checkpoints:
    checkpoints.save(TrainState(jnp.int32(7), variables, {"moment": jnp.zeros(1)}), metadata)
