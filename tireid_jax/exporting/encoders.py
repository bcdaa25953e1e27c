"""Converts a model to formats that run without this package: a Hugging Face CLIP and StableHLO programs."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from tireid_jax.data.transforms.augment import MEAN, STD, normalise
from tireid_jax.errors import UserError
from tireid_jax.models.clip import CLIP
from tireid_jax.models.execution import Execution
from tireid_jax.models.variants import patch_grid
from tireid_jax.models.weights import leaves

# Encoder: the method of CLIP that runs it.
ENCODERS = {"image_encoder": "encode_image", "text_encoder": "encode_text"}
PLATFORMS = ("cpu", "cuda", "tpu")

_POSITIONS = "vision_model.embeddings.position_embedding.weight"
# For this end token, transformers' CLIPModel pools the output at the highest token id instead.
_OLD_END_TOKEN = 2
# PIL's constant for bilinear resizing, with which the images of prepared data sets are resized.
_BILINEAR = 2


def why_no_clip_model(model: CLIP) -> str:
  """Returns the reason why transformers' CLIPModel cannot represent this model, "" if it can."""
  variant = model.variant
  if model.stride not in (0, variant.patch_size):
    return f"its patches overlap (model.stride is {model.stride} pixels, the patch size {variant.patch_size})"
  if variant.end_token == _OLD_END_TOKEN:
    return f"its end token is {_OLD_END_TOKEN}, for which CLIPModel pools the output at the highest token id"
  return ""


def stored_grid(model: CLIP) -> tuple[int, int]:
  """Returns the (rows, columns) of the grid of position embeddings as stored.

  CLIPModel requires a square grid, which it resizes to the patch grid of its images by torch's bicubic interpolation.
  Ours is therefore stored as a square whose side is a multiple of both of its own sides, with each row and column
  repeated. If the number of copies is odd, CLIPModel samples exactly at the middle copy; if it is even and not two, all
  four taps are copies of the same value. Either way our embeddings are recovered up to rounding. A model that CLIPModel
  cannot represent is stored with its own grid.
  """
  grid = _own_grid(model)
  if grid[0] == grid[1] or why_no_clip_model(model):
    return grid
  least = math.lcm(*grid)
  side = next(side for side in itertools.count(least, least) if all(side // count != 2 for count in grid))
  return side, side


def _own_grid(model: CLIP) -> tuple[int, int]:
  return patch_grid(model.image_size, model.variant.patch_size, model.stride)


def _copies(model: CLIP) -> tuple[int, ...]:
  """Returns how often each of our (rows, columns) is repeated in the stored grid."""
  return tuple(stored // own for stored, own in zip(stored_grid(model), _own_grid(model), strict=True))


def to_tensors(
  model: CLIP, variables: Mapping[str, Mapping[str, Any]], dtype: str = "float32"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns (weights by Hugging Face name, prompts f32 as "<encoder>.<name>"), without the identity head.

  Args:
    model: CLIP module.
    variables: of the model.
    dtype: of the weights, "float32" or "float16".

  Raises:
    UserError: a weight is beyond the range of `dtype`.
  """
  params = {name: tree for name, tree in variables["params"].items() if name != "id_head"}
  tensors: dict[str, np.ndarray] = {}
  for leaf, array in zip(jax.tree.leaves(leaves.leaves(params)), jax.tree.leaves(params), strict=True):
    for name, tensor in leaf.to_stored(np.asarray(array, np.float32)).items():
      tensors[name] = np.asarray(tensor, order="C")  # not ascontiguousarray, which turns a scalar into a vector
  table, (rows, columns) = tensors[_POSITIONS], _copies(model)
  patches = table[1:].reshape(*_own_grid(model), -1).repeat(rows, axis=0).repeat(columns, axis=1)
  tensors[_POSITIONS] = np.concatenate([table[:1], patches.reshape(-1, table.shape[1])])
  tensors = {name: _cast(name, tensor, dtype) for name, tensor in tensors.items()}
  prompts = {
    f"{encoder}.{name}": np.asarray(array, np.float32)
    for encoder, prompts_of_encoder in variables["prompts"].items()
    for name, array in prompts_of_encoder.items()
  }
  return tensors, prompts


def _cast(name, tensor, dtype):
  with np.errstate(over="ignore"):  # reported below
    cast = tensor.astype(dtype)
  if (np.isinf(cast) & np.isfinite(tensor)).any():
    raise UserError(f"{name} has values beyond the range of {dtype}; export with --weights=float32")
  return cast


def clip_config(model: CLIP, dtype: str = "float32") -> dict[str, Any]:
  """Returns the content of `config.json` for transformers' CLIPModel; `dtype` is that of the weights."""
  variant = model.variant

  def tower(sizes):
    return {
      "hidden_size": sizes.width,
      "intermediate_size": sizes.mlp_width,
      "num_hidden_layers": sizes.num_blocks,
      "num_attention_heads": sizes.num_heads,
      "hidden_act": variant.activation,
      "layer_norm_eps": variant.layer_norm_eps,
      "projection_dim": variant.embedding_size,
    }

  return {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "dtype": dtype,
    "projection_dim": variant.embedding_size,
    "vision_config": {
      **tower(variant.image),
      "model_type": "clip_vision_model",
      "image_size": stored_grid(model)[0] * variant.patch_size,
      "patch_size": variant.patch_size,
    },
    "text_config": {
      **tower(variant.text),
      "model_type": "clip_text_model",
      "vocab_size": variant.vocabulary_size,
      "max_position_embeddings": variant.text_length,
      "eos_token_id": variant.end_token,
    },
  }


def preprocessor_config(model: CLIP) -> dict[str, Any]:
  """Returns the content of `preprocessor_config.json` for transformers' CLIPImageProcessor."""
  height, width = model.image_size
  return {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"height": height, "width": width},
    "resample": _BILINEAR,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
  }


def serialize_encoder(
  model: CLIP,
  variables: Mapping[str, Mapping[str, Any]],
  encoder: str,
  precision: str,
  dtype: str = "float32",
) -> bytearray:
  """Returns an encoder with its prompts as a program for all PLATFORMS, to be read by `jax.export.deserialize`.

  The program takes {name: array} and a batch, images u8[B, h, w, 3] or tokens i32[B, L], and returns embeddings
  f32[B, E], not normalised. The arrays are this encoder's tensors of `to_tensors`. Any B is accepted, and any L up to
  `variant.text_length`.

  Args:
    model: with or without prompts.
    variables: of the model, or their shapes.
    encoder: one of ENCODERS.
    precision: dtype of the arithmetic, "float32" or "bfloat16".
    dtype: of the weights that it takes, as in `to_tensors`.
  """
  # Unrolled, since a scan would stack the blocks' weights at each call; with XLA's attention, the only implementation
  # for all PLATFORMS.
  model = model.clone(execution=Execution(jnp.dtype(precision), scan_blocks=False, attention="xla"))
  wanted = leaves.leaves({encoder: variables["params"][encoder]})
  weights = {name: leaf.stored_shape for leaf in jax.tree.leaves(wanted) for name in leaf.names}
  if _POSITIONS in weights:
    rows, columns = stored_grid(model)
    weights[_POSITIONS] = (1 + rows * columns, weights[_POSITIONS][1])
  prompts = {f"{encoder}.{name}": name for name in variables["prompts"].get(encoder, {})}
  for stored, name in prompts.items():
    weights[stored] = variables["prompts"][encoder][name].shape

  def encode(weights, batch):
    weights = {name: tensor.astype(jnp.float32) for name, tensor in weights.items()}
    params = _from_tensors(model, wanted, weights)
    # CLIP declares a logit scale, which neither encoder reads.
    params["logit_scale"] = jnp.zeros(())
    prompt_variables = {encoder: {name: weights[stored] for stored, name in prompts.items()}}
    inputs = normalise(batch) if encoder == "image_encoder" else batch
    return model.apply({"params": params, "prompts": prompt_variables}, inputs, method=ENCODERS[encoder])

  shapes = {
    name: jax.ShapeDtypeStruct(shape, jnp.float32 if name in prompts else jnp.dtype(dtype))
    for name, shape in weights.items()
  }
  program = jax.export.export(jax.jit(encode), platforms=PLATFORMS)(shapes, _batch_shape(model, encoder))
  return program.serialize()


def _batch_shape(model: CLIP, encoder: str) -> jax.ShapeDtypeStruct:
  if encoder == "image_encoder":
    return jax.ShapeDtypeStruct((*jax.export.symbolic_shape("B"), *model.image_size, 3), jnp.uint8)
  shape = jax.export.symbolic_shape("B, L", constraints=[f"L <= {model.variant.text_length}"])
  return jax.ShapeDtypeStruct(shape, jnp.int32)


def _from_tensors(model: CLIP, wanted: Any, tensors: Mapping[str, jax.Array]) -> Any:
  """Returns the params of an encoder, traced: the tree `wanted` of Leaf converted from the stored tensors."""
  if _POSITIONS in tensors:
    table, (rows, columns) = tensors[_POSITIONS], _copies(model)
    patches = table[1:].reshape(*stored_grid(model), -1)[rows // 2 :: rows, columns // 2 :: columns]
    tensors = {**tensors, _POSITIONS: jnp.concatenate([table[:1], patches.reshape(-1, table.shape[1])])}

  def read(leaf):
    parts = [leaf.from_stored(tensors[name]) for name in leaf.names]
    return jnp.stack(parts) if leaf.is_stacked else parts[0]

  return jax.tree.map(read, wanted)
