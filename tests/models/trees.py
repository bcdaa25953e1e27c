"""Small CLIPs with random weights under Hugging Face's names, and their config files, written without torch."""

import json

import numpy as np
from safetensors.numpy import save_file

from tireid_jax.models.variants import Tower, Variant

# Heads have 64 channels, as in OpenAI's models; all other sizes differ.
SMALL = Variant(
  Tower(128, 3, 2), Tower(64, 2, 1), patch_size=4, embedding_size=8, native_image_size=(16, 16), vocabulary_size=50,
  text_length=9, end_token=49,
)  # fmt: skip


def clip_tensors(variant, *, seed=0, dtype=np.float32):
  """Returns {Hugging Face's name: array} of a CLIP with random weights, float32 rounded to `dtype`."""
  rng = np.random.default_rng(seed)
  tensors = {"logit_scale": np.array(4.6052, np.float32)}

  def normal(name, *shape, std=0.05, mean=0.0):
    tensors[name] = (mean + std * rng.standard_normal(shape)).astype(np.float32)

  def norm(name, width):
    normal(f"{name}.weight", width, mean=1.0)
    normal(f"{name}.bias", width)

  def linear(name, inputs, outputs):
    normal(f"{name}.weight", outputs, inputs)
    normal(f"{name}.bias", outputs)

  def tower(name, sizes):
    for block in range(sizes.num_blocks):
      layer = f"{name}.encoder.layers.{block}"
      for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        linear(f"{layer}.self_attn.{part}", sizes.width, sizes.width)
      linear(f"{layer}.mlp.fc1", sizes.width, sizes.mlp_width)
      linear(f"{layer}.mlp.fc2", sizes.mlp_width, sizes.width)
      norm(f"{layer}.layer_norm1", sizes.width)
      norm(f"{layer}.layer_norm2", sizes.width)

  image, text, side = variant.image, variant.text, variant.patch_size
  tower("vision_model", image)
  tower("text_model", text)
  norm("vision_model.pre_layrnorm", image.width)
  norm("vision_model.post_layernorm", image.width)
  norm("text_model.final_layer_norm", text.width)
  patches = (variant.native_image_size[0] // side) * (variant.native_image_size[1] // side)
  normal("vision_model.embeddings.class_embedding", image.width)
  normal("vision_model.embeddings.patch_embedding.weight", image.width, 3, side, side)
  normal("vision_model.embeddings.position_embedding.weight", 1 + patches, image.width)
  normal("text_model.embeddings.token_embedding.weight", variant.vocabulary_size, text.width)
  normal("text_model.embeddings.position_embedding.weight", variant.text_length, text.width)
  normal("visual_projection.weight", variant.embedding_size, image.width)
  normal("text_projection.weight", variant.embedding_size, text.width)
  return {name: values.astype(dtype) for name, values in tensors.items()}


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
  side = image_size or variant.native_image_size[0]
  square = Variant(**{**vars(variant), "native_image_size": (side, side)})
  tensors = clip_tensors(square, seed=seed)
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / "config.json", hf_config(square))
  save_file(
    {name: t for name, t in {**tensors, **(extra or {})}.items() if name not in drop}, folder / "model.safetensors"
  )
  return tensors


def write_json(path, data):
  """Writes JSON data."""
  path.write_text(json.dumps(data))


def hf_config(variant):
  """Returns the `config.json` of a Variant for square images, JSON data."""

  def tower(sizes):
    return {
      "hidden_size": sizes.width,
      "intermediate_size": sizes.mlp_width,
      "num_hidden_layers": sizes.num_blocks,
      "num_attention_heads": sizes.num_heads,
      "hidden_act": variant.activation,
      "layer_norm_eps": variant.layer_norm_eps,
    }

  image = {"image_size": variant.native_image_size[0], "patch_size": variant.patch_size}
  text = {
    "vocab_size": variant.vocabulary_size,
    "max_position_embeddings": variant.text_length,
    # transformers warns about ids outside the vocabulary.
    "bos_token_id": variant.vocabulary_size - 2,
    "eos_token_id": variant.end_token,
  }
  return {
    "model_type": "clip",
    "projection_dim": variant.embedding_size,
    "vision_config": {**tower(variant.image), **image},
    "text_config": {**tower(variant.text), **text},
  }


def open_clip_config(variant):
  """Returns the `open_clip_config.json` of a Variant, JSON data."""
  image, text = variant.image, variant.text
  return {
    "model_cfg": {
      "embed_dim": variant.embedding_size,
      "quick_gelu": variant.activation == "quick_gelu",
      "vision_cfg": {
        "image_size": list(variant.native_image_size),
        "layers": image.num_blocks,
        "width": image.width,
        "head_width": image.width // image.num_heads,
        "mlp_ratio": image.mlp_width / image.width,
        "patch_size": variant.patch_size,
      },
      "text_cfg": {
        "context_length": variant.text_length,
        "vocab_size": variant.vocabulary_size,
        "width": text.width,
        "heads": text.num_heads,
        "layers": text.num_blocks,
        "mlp_ratio": text.mlp_width / text.width,
      },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]},
  }
