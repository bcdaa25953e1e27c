"""Published CLIP weights -> this model's variables."""

import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.variants import Tower, Variant, patch_grid


def load(path, image_size=(384, 128)):
  """Returns (CLIP module without prompts, variables) of a Hugging Face folder.

  Args:
    path: folder with `config.json` and `model.safetensors`.
    image_size: (h, w) that the model shall take, pixels; the position table is resized to its grid.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a tensor is missing, left over or misshapen.
  """
  folder = pathlib.Path(path).expanduser()
  for name in ("config.json", "model.safetensors"):
    if not (folder / name).is_file():
      raise FileNotFoundError(
        f"pretrained={str(path)!r} holds no {name}; give the folder of a Hugging Face CLIP model "
        f"(config.json and model.safetensors), or a stage folder of a workdir"
      )
  try:
    data = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
  except (json.JSONDecodeError, SafetensorError) as error:
    raise ValueError(f"the files in {folder} are damaged ({error}); download them again") from error
  variant = _read_variant(data)
  model = CLIP(variant, tuple(image_size))
  source = {name: tensor for name, tensor in tensors.items()
            if not name.endswith("position_ids")}  # fmt: skip
  return model, {"params": _convert(source, model, folder), "prompts": {}}


def _read_variant(data):
  """Returns the Variant that a Hugging Face `config.json` (JSON data) describes; fields left out have its defaults."""
  # Imported here since it costs a second, which runs that start elsewhere need not pay; it need not say that it found
  # no torch.
  os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
  from transformers import CLIPConfig

  config: Any = CLIPConfig.from_dict(data)
  for name in ("vision_config", "text_config"):
    tower = getattr(config, name)
    if tower.intermediate_size != 4 * tower.hidden_size:
      raise ValueError(f"{name}.intermediate_size is {tower.intermediate_size}; only 4 x hidden_size is supported")
  image, text = (
    Tower(tower.hidden_size, tower.num_hidden_layers, tower.num_attention_heads)
    for tower in (config.vision_config, config.text_config)
  )
  vision = config.vision_config
  return Variant(
    image, text, vision.patch_size, config.projection_dim, (vision.image_size,) * 2, vision.hidden_act,
    vision.layer_norm_eps,
  )  # fmt: skip


def _convert(source, model, folder):
  """Returns the params of `model`, each leaf taken from the source's tensors; every tensor is used once."""
  wanted = jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))["params"]
  left, problems = set(source), []

  def take(name):
    left.discard(name)
    if name not in source:
      problems.append(f"{name} is missing")
      return None
    return np.asarray(source[name], np.float32)

  def leaf(path, want):
    keys = [key.key for key in path]
    names, adapt = _source_names(keys, model.variant)
    tensors = [take(name) for name in names]
    if any(tensor is None for tensor in tensors):
      return None
    value = np.stack([adapt(tensor) for tensor in tensors])
    value = value if "blocks" in keys else value[0]
    if keys == ["image_encoder", "position_embedding"]:
      value = resize_positions(
        value,
        patch_grid(model.variant.native_image_size, model.variant.patch_size),
        patch_grid(model.image_size, model.variant.patch_size),
      )
    if value.shape != want.shape:
      problems.append(f"{names[0]} has shape {value.shape}, not {want.shape}")
      return None
    return value

  params = jax.tree_util.tree_map_with_path(leaf, wanted)
  problems += [f"{name} is not part of this model" for name in sorted(left)]
  if problems:
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    raise ValueError(f"the weights in {folder} do not fit: {'; '.join(problems[:5])}{more}")
  return params


_TOWERS = {"image_encoder": ("vision_model", "visual_projection"), "text_encoder": ("text_model", "text_projection")}
# Names below a block and below a tower, ours: Hugging Face's.
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


def _source_names(keys, variant):
  """Returns (Hugging Face's tensor names of a leaf, a name per block where it is stacked; how a tensor is turned)."""
  if keys == ["logit_scale"]:
    return ["logit_scale"], np.asarray
  tower, projection = _TOWERS[keys[0]]
  if keys[1] == "projection":
    return [f"{projection}.weight"], np.transpose
  if keys[1] == "transformer":
    sizes = variant.image if keys[0] == "image_encoder" else variant.text
    part, kind = "/".join(keys[3:-1]), {"kernel": "weight", "scale": "weight", "bias": "bias"}[keys[-1]]
    names = [f"{tower}.encoder.layers.{block}.{_BLOCK[part]}.{kind}" for block in range(sizes.num_blocks)]
    return names, np.transpose if keys[-1] == "kernel" else np.asarray
  name = f"{tower}.{_TOP['/'.join(keys[1:])]}"
  if keys[1] == "patch_embedding":
    return [name], lambda kernel: kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])  # OIHW -> [h w 3, D]
  return [name], np.asarray


def resize_positions(table, grid, new_grid):
  """Returns f32[1 + rows * columns, D]: a position table moved to another grid of patches.

  The class row is kept; the others are resized bilinearly with half-pixel centres and without antialiasing, as IRRA
  does.

  Args:
    table: f32[1 + rows * columns, D].
    grid: (rows, columns) of `table`.
    new_grid: (rows, columns) wanted.
  """
  if table.shape[0] != 1 + grid[0] * grid[1]:
    raise ValueError(
      f"a position table of {table.shape[0]} rows does not fit a grid of {grid[0]}x{grid[1]} and a class"
    )
  if tuple(grid) == tuple(new_grid):
    return table
  patches = table[1:].reshape(*grid, -1)
  patches = jax.image.resize(jnp.asarray(patches), (*new_grid, patches.shape[-1]), "bilinear", antialias=False)
  return np.concatenate([table[:1], np.asarray(patches).reshape(-1, table.shape[1])])
