"""Small Hugging Face CLIP folders with random weights, made without torch."""

import json

import numpy as np
from safetensors.numpy import save_file


def write_hf_clip(folder, variant, *, seed=0, image_size=None, drop=(), extra=None):
  """Writes config.json and model.safetensors of a CLIP of these sizes into `folder` and returns its tensors.

  Args:
    folder: pathlib.Path, made if need be.
    variant: models.variants.Variant.
    seed: of the weights.
    image_size: side of the square images its position table is for; the variant's if not given.
    drop: names of tensors left out.
    extra: {name: tensor} added.
  """
  draw = np.random.default_rng(seed)
  tensors = {"logit_scale": np.array(4.6052, np.float32)}
  side = image_size or variant.native_image_size[0]

  def normal(name, *shape, std=0.05, mean=0.0):
    tensors[name] = (mean + std * draw.standard_normal(shape)).astype(np.float32)

  def norm(name, width):
    normal(f"{name}.weight", width, mean=1.0)
    normal(f"{name}.bias", width)

  def tower(name, sizes):
    for block in range(sizes.num_blocks):
      layer = f"{name}.encoder.layers.{block}"
      for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        normal(f"{layer}.self_attn.{part}.weight", sizes.width, sizes.width)
        normal(f"{layer}.self_attn.{part}.bias", sizes.width)
      normal(f"{layer}.mlp.fc1.weight", 4 * sizes.width, sizes.width)
      normal(f"{layer}.mlp.fc1.bias", 4 * sizes.width)
      normal(f"{layer}.mlp.fc2.weight", sizes.width, 4 * sizes.width)
      normal(f"{layer}.mlp.fc2.bias", sizes.width)
      norm(f"{layer}.layer_norm1", sizes.width)
      norm(f"{layer}.layer_norm2", sizes.width)

  tower("vision_model", variant.image)
  tower("text_model", variant.text)
  norm("vision_model.pre_layrnorm", variant.image.width)
  norm("vision_model.post_layernorm", variant.image.width)
  norm("text_model.final_layer_norm", variant.text.width)
  patches = (side // variant.patch_size) ** 2
  normal("vision_model.embeddings.class_embedding", variant.image.width)
  normal(
    "vision_model.embeddings.patch_embedding.weight", variant.image.width, 3, variant.patch_size, variant.patch_size
  )
  normal("vision_model.embeddings.position_embedding.weight", 1 + patches, variant.image.width)
  normal("text_model.embeddings.token_embedding.weight", 49_408, variant.text.width)
  normal("text_model.embeddings.position_embedding.weight", 77, variant.text.width)
  normal("visual_projection.weight", variant.embedding_size, variant.image.width)
  normal("text_projection.weight", variant.embedding_size, variant.text.width)

  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(json.dumps(_config(variant, side)))
  save_file(
    {name: t for name, t in {**tensors, **(extra or {})}.items() if name not in drop}, folder / "model.safetensors"
  )
  return tensors


def _config(variant, side):
  def tower(sizes):
    return {
      "hidden_size": sizes.width,
      "intermediate_size": 4 * sizes.width,
      "num_hidden_layers": sizes.num_blocks,
      "num_attention_heads": sizes.num_heads,
      "hidden_act": variant.activation,
      "layer_norm_eps": variant.layer_norm_eps,
    }

  return {
    "model_type": "clip",
    "projection_dim": variant.embedding_size,
    "vision_config": {**tower(variant.image), "image_size": side, "patch_size": variant.patch_size},
    "text_config": tower(variant.text),
  }
