"""The Hugging Face tensors that each leaf of our params corresponds to, and the conversion in both directions."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from tireid_jax.models.weights.tensor import Tensor

_TOWERS = {"image_encoder": ("vision_model", "visual_projection"), "text_encoder": ("text_model", "text_projection")}
# Our name within a block or within an encoder: the Hugging Face name.
_BLOCK = {
  "attn/query": "self_attn.q_proj", "attn/key": "self_attn.k_proj", "attn/value": "self_attn.v_proj",
  "attn/out": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "fc": "mlp.fc1", "proj": "mlp.fc2",
}  # fmt: skip
_TOP = {
  "ln_pre/scale": "pre_layrnorm.weight", "ln_pre/bias": "pre_layrnorm.bias",
  "ln_post/scale": "post_layernorm.weight", "ln_post/bias": "post_layernorm.bias",
  "ln_final/scale": "final_layer_norm.weight", "ln_final/bias": "final_layer_norm.bias",
  "class_embedding": "embeddings.class_embedding", "patch_embedding/kernel": "embeddings.patch_embedding.weight",
  "position_embedding": "embeddings.position_embedding.weight",
  "token_embedding/embedding": "embeddings.token_embedding.weight",
}  # fmt: skip
_KINDS = {"kernel": "weight", "scale": "weight", "bias": "bias"}


@dataclasses.dataclass(frozen=True)
class Leaf:
  """How one leaf of our params is stored in the Hugging Face format.

  Attributes:
    names: of the stored tensors, one per block for a leaf of stacked blocks.
    shape: of the leaf, without the axis of stacked blocks.
    is_stacked: whether the leaf has a leading axis of blocks.
    layout: of the stored tensor: "same", "transposed", or "patches", an OIHW convolution kernel for our [h w 3, D].
  """

  names: tuple[str, ...]
  shape: tuple[int, ...]
  is_stacked: bool
  layout: str

  @property
  def stored_shape(self) -> tuple[int, ...]:
    """Shape of each stored tensor."""
    if self.layout == "patches":
      side = math.isqrt(self.shape[0] // 3)
      return (self.shape[1], 3, side, side)
    return self.shape[::-1] if self.layout == "transposed" else self.shape

  def from_stored(self, tensor: Any) -> Any:
    """Converts one stored tensor, a NumPy or JAX array, to our layout."""
    if self.layout == "patches":
      return tensor.transpose(2, 3, 1, 0).reshape(self.shape)
    return tensor.T if self.layout == "transposed" else tensor

  def to_stored(self, array: Any) -> dict[str, Any]:
    """Returns the stored tensors {name: tensor} of our leaf, a NumPy or JAX array."""
    return {
      name: self._to_stored_layout(part)
      for name, part in zip(self.names, array if self.is_stacked else [array], strict=True)
    }

  def _to_stored_layout(self, array: Any) -> Any:
    if self.layout == "patches":
      outputs, inputs, height, width = self.stored_shape
      return array.reshape(height, width, inputs, outputs).transpose(3, 2, 0, 1)
    return array.T if self.layout == "transposed" else array


def leaves(params: Any) -> Any:
  """Returns the tree `params` (arrays or shapes, without an identity head) with a Leaf in place of each leaf."""
  stacked = {
    tower: jax.tree.leaves(params[tower]["transformer"].get("blocks", ())) for tower in _TOWERS if tower in params
  }
  num_stacked = {tower: weights[0].shape[0] if weights else 0 for tower, weights in stacked.items()}

  def describe(path, leaf):
    keys = [key.key for key in path]
    return _leaf(keys, leaf.shape, num_stacked.get(keys[0], 0))

  return jax.tree_util.tree_map_with_path(describe, params)


def _leaf(keys: Sequence[str], shape: tuple[int, ...], num_stacked: int) -> Leaf:
  if keys == ["logit_scale"]:
    return Leaf(("logit_scale",), shape, False, "same")
  tower, projection = _TOWERS[keys[0]]
  if keys[1] == "projection":
    return Leaf((f"{projection}.weight",), shape, False, "transposed")
  if keys[1] == "transformer":
    is_stacked, part, kind = keys[2] == "blocks", _BLOCK["/".join(keys[3:-1])], _KINDS[keys[-1]]
    numbers = range(num_stacked) if is_stacked else [num_stacked]
    names = tuple(f"{tower}.encoder.layers.{number}.{part}.{kind}" for number in numbers)
    return Leaf(names, shape[is_stacked:], is_stacked, "transposed" if keys[-1] == "kernel" else "same")
  layout = "patches" if keys[1] == "patch_embedding" else "same"
  return Leaf((f"{tower}.{_TOP['/'.join(keys[1:])]}",), shape, False, layout)


def read_leaf(leaf: Leaf, tensors: Mapping[str, Tensor]) -> Float[np.ndarray, "..."]:
  """Reads a leaf from {name: Tensor}, one tensor at a time."""
  if not leaf.is_stacked:
    return np.asarray(leaf.from_stored(tensors[leaf.names[0]].read()), np.float32)
  array = np.empty((len(leaf.names), *leaf.shape), np.float32)
  for block, name in zip(array, leaf.names, strict=True):
    block[...] = leaf.from_stored(tensors[name].read())
  return array
