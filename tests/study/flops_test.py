"""The operations of a step: in proportion to what is computed."""

import functools

import pytest

from configs import toy
from tireid_jax.models.variants import VARIANTS
from tireid_jax.study import flops


@functools.cache
def operations(number, microbatch_size=0):
  config = toy.get_config()
  config[f"stage{number}"].update(batch_size=8, microbatch_size=microbatch_size)
  config.update_from_flattened_dict({"data.caption_lengths": (77,), "model.blocks": "loop", "prompts.depth": 3})
  return flops.of_step(config, number, VARIANTS["tiny"], num_identities=10)


def test_the_operations_of_a_step_are_those_of_its_matrix_products():
  variant, batch, images = VARIANTS["tiny"], 8, 4
  forward = 0
  # Tokens with 8 prompts, and the patches of 96 x 48 pixels with the class token and 8 prompts.
  for tower, length, num in ((variant.text, 77 + 8, batch), (variant.image, 18 + 1 + 8, images)):
    products = 12 * tower.width**2 * length + 2 * tower.width * length**2
    forward += 2 * num * tower.num_blocks * products
  # The backward pass has two products for each of the forward pass.
  assert operations(2) == pytest.approx(3 * forward, rel=0.15)


def test_the_operations_of_a_step_do_not_depend_on_how_it_is_computed():
  assert operations(2, microbatch_size=2) == operations(2)


def test_prompts_alone_need_no_gradients_of_weights():
  assert 0.55 < operations(1) / operations(2) < 0.75
