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
def test_the_leaves_of_each_size_are_its_tensors_each_once(name):
  stored = [(key, leaf.stored_shape) for leaf in leaves_of(shapes_of(VARIANTS[name])) for key in leaf.names]
  assert len(stored) == len(set(stored))
  # clip_tensors draws a gigabyte for the others.
  if name == "tiny":
    assert dict(stored) == {key: values.shape for key, values in clip_tensors(VARIANTS[name]).items()}


def test_our_leaves_are_stored_as_the_tensors_they_were_read_from():
  stored = {}
  for leaf, array in zip(leaves_of(PARAMS), jax.tree.leaves(PARAMS), strict=True):
    stored |= leaf.to_stored(array)
  assert set(stored) == set(TENSORS)
  for name, values in stored.items():
    np.testing.assert_array_equal(values, TENSORS[name], err_msg=name)


def test_a_leaf_is_read_in_float32_whatever_is_stored():
  tensors = {name: Tensor(v.shape, lambda v=v: v.astype(np.float16)) for name, v in TENSORS.items()}
  for leaf, array in zip(leaves_of(PARAMS), jax.tree.leaves(PARAMS), strict=True):
    read = read_leaf(leaf, tensors)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, array.astype(np.float16))


def test_a_convolution_becomes_a_matrix_of_rows_columns_channels():
  kernel = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)  # [outputs, channels, rows, columns]
  leaf = Leaf(("patches",), (12, 2), False, "patches")
  matrix = leaf.from_stored(kernel)
  assert matrix[3 * (2 * 1 + 0) + 2, 1] == kernel[1, 2, 1, 0]
  assert leaf.stored_shape == kernel.shape
  np.testing.assert_array_equal(leaf.to_stored(matrix)["patches"], kernel)
