import jax
import numpy as np
import pytest

from tests.models import forms
from tests.models.trees import SMALL, clip_tensors
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.variants import VARIANTS
from tireid_jax.models.weights.leaves import Leaf, leaves, read_leaf
from tireid_jax.models.weights.tensor import Tensor

TENSORS = clip_tensors(SMALL)
PARAMS = forms.own_params(TENSORS, SMALL)


def leaves_of(tree):
  return jax.tree.leaves(leaves(tree), is_leaf=lambda leaf: isinstance(leaf, Leaf))


def shapes_of(variant):
  return jax.eval_shape(lambda: init_variables(CLIP(variant, variant.native_image_size), jax.random.key(0)))["params"]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_leaves_of_each_variant_refer_to_each_of_its_tensors_exactly_once(name):
  stored = [(key, leaf.stored_shape) for leaf in leaves_of(shapes_of(VARIANTS[name])) for key in leaf.names]
  assert len(stored) == len(set(stored))
  # For the others, clip_tensors would generate a gigabyte.
  if name == "tiny":
    assert dict(stored) == {key: values.shape for key, values in clip_tensors(VARIANTS[name]).items()}


def test_leaves_are_stored_as_the_tensors_from_which_they_were_read():
  stored = {}
  for leaf, array in zip(leaves_of(PARAMS), jax.tree.leaves(PARAMS), strict=True):
    stored |= leaf.to_stored(array)
  assert set(stored) == set(TENSORS)
  for name, values in stored.items():
    np.testing.assert_array_equal(values, TENSORS[name], err_msg=name)


def test_leaves_stored_in_float16_are_read_as_float32():
  tensors = {name: Tensor(v.shape, lambda v=v: v.astype(np.float16)) for name, v in TENSORS.items()}
  for leaf, array in zip(leaves_of(PARAMS), jax.tree.leaves(PARAMS), strict=True):
    read = read_leaf(leaf, tensors)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, array.astype(np.float16))


def test_the_patch_convolution_becomes_a_matrix_with_inputs_in_row_column_channel_order():
  kernel = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)  # [outputs, channels, rows, columns]
  leaf = Leaf(("patches",), (12, 2), False, "patches")
  matrix = leaf.from_stored(kernel)
  assert matrix[3 * (2 * 1 + 0) + 2, 1] == kernel[1, 2, 1, 0]
  assert leaf.stored_shape == kernel.shape
  np.testing.assert_array_equal(leaf.to_stored(matrix)["patches"], kernel)
