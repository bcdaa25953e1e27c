"""What tensors do not tell of a CLIP (heads, activation, LayerNorm eps), from the config file beside them."""

import json
import os
import pathlib
from typing import Any

from tireid_jax.errors import UserError
from tireid_jax.models.variants import Tower, Variant

# Hugging Face's CLIP configs gave 2 as the end token for years, while its models took the highest id, the last one.
_WRONG_END_TOKEN = 2
# open_clip's vision fields that a plain image transformer has, and the values of others that mean "not used".
_OPEN_CLIP_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
_OPEN_CLIP_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
# Letters of what a library says of a config, which may quote the whole of it.
_MAX_REASON = 500
_UNUSED = (None, False, 0, 0.0, "tok", "argmax", "none", "causal")


def beside(path, family):
  """Returns the Variant that the config file beside a file of weights describes, or None where there is none.

  Args:
    path: of the weights.
    family: from `names`; of two config files, the one of the weights' own family is read.

  Raises:
    ValueError: if the config is damaged or describes a model that is no plain CLIP.
  """
  readers = [
    ("config.json", ("vision_config", "text_config"), from_hugging_face),
    ("open_clip_config.json", ("model_cfg",), lambda data: from_open_clip(data["model_cfg"])),
  ]
  for name, keys, read in reversed(readers) if family == "OpenAI" else readers:
    file = path.parent / name
    data = _read_json(file) if file.is_file() else {}
    if all(key in data for key in keys):
      try:
        return read(data)
      except KeyError as error:
        raise UserError(f"{file} has no {error}; download it again") from error
      except Exception as error:  # What a field of the wrong type raises is the library's own affair.
        raise UserError(f"{file}: {' '.join(str(error).split())[:_MAX_REASON]}") from error
  return None


def is_clip_config(file):
  """Whether a file is the `config.json` of a CLIP, as Hugging Face writes it."""
  data = _read_json(file) if file.is_file() else {}
  return "vision_config" in data and "text_config" in data


def _read_json(path: pathlib.Path):
  try:
    data = json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
    raise UserError(f"{path} is damaged ({error}); download it again") from error
  return data if isinstance(data, dict) else {}


def from_hugging_face(data):
  """Returns the Variant of a Hugging Face `config.json`; fields left out have its defaults."""
  # Imported here since it costs a second, which runs that start elsewhere need not pay; it need not say that it found
  # no torch.
  os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
  from transformers import CLIPConfig

  if data.get("model_type", "clip") != "clip":
    raise UserError(f"it describes a model of the type {data['model_type']!r}, not a CLIP")
  config: Any = CLIPConfig.from_dict(data)
  vision, text = config.vision_config, config.text_config
  for name in ("hidden_act", "layer_norm_eps"):
    if getattr(vision, name) != getattr(text, name):
      raise UserError(f"{name} is {getattr(vision, name)} for images and {getattr(text, name)} for text")
  image_tower, text_tower = (
    Tower(tower.hidden_size, tower.num_hidden_layers, tower.num_attention_heads, tower.intermediate_size)
    for tower in (vision, text)
  )
  end_token = text.vocab_size - 1 if text.eos_token_id == _WRONG_END_TOKEN else text.eos_token_id
  return Variant(
    image_tower, text_tower, vision.patch_size, config.projection_dim, _both_sides(vision.image_size),
    vision.hidden_act, vision.layer_norm_eps, text.vocab_size, text.max_position_embeddings, end_token,
  )  # fmt: skip


def _both_sides(size):
  """Returns (h, w) of one side of a square, or of a list of both."""
  return tuple(size) if isinstance(size, (list, tuple)) else (size, size)


def from_open_clip(data):
  """Returns the Variant of the `model_cfg` of an `open_clip_config.json`."""
  vision, text = data["vision_cfg"], data["text_cfg"]
  for section, known in ((vision, _OPEN_CLIP_VISION), (text, _OPEN_CLIP_TEXT)):
    odd = sorted(key for key, value in section.items() if key not in known and value not in _UNUSED)
    if odd:
      raise UserError(f"{odd[0]}={section[odd[0]]!r} makes this another model than CLIP with an image transformer")
  if isinstance(vision.get("layers"), list):
    raise UserError("it describes a CLIP with a ResNet; only image transformers can be read")
  # Defaults as in open_clip's CLIPVisionCfg and CLIPTextCfg.
  image_width, text_width = vision.get("width", 768), text.get("width", 512)
  return Variant(
    Tower(image_width, vision.get("layers", 12), image_width // vision.get("head_width", 64),
          int(image_width * vision.get("mlp_ratio", 4.0))),
    Tower(text_width, text.get("layers", 12), text.get("heads", 8), int(text_width * text.get("mlp_ratio", 4.0))),
    vision.get("patch_size", 16), data["embed_dim"], _both_sides(vision.get("image_size", 224)),
    "quick_gelu" if data.get("quick_gelu") else "gelu",
    vocabulary_size=text.get("vocab_size", 49_408), text_length=text.get("context_length", 77),
    end_token=text.get("vocab_size", 49_408) - 1,
  )  # fmt: skip


def from_shapes(tensors, *, num_heads, activation, image_size):
  """Returns the Variant of tensors by Hugging Face's names, of which nothing but the shapes is known.

  Args:
    tensors: {name: Tensor}.
    num_heads: (image, text), which no shape tells.
    activation: "quick_gelu" or "gelu", which none tells either.
    image_size: (h, w) asked for; a position table that is not square must be of its grid.
  """
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  try:
    patch_size = shapes["vision_model.embeddings.patch_embedding.weight"][-1]
    vocabulary_size, text_width = shapes["text_model.embeddings.token_embedding.weight"]
    rows, image_width = shapes["vision_model.embeddings.position_embedding.weight"]
    text_length = shapes["text_model.embeddings.position_embedding.weight"][0]
    embedding_size = shapes["visual_projection.weight"][0]
    widths = [shapes[f"{tower}.encoder.layers.0.mlp.fc1.weight"][0] for tower in ("vision_model", "text_model")]
  except (KeyError, IndexError, ValueError) as error:
    raise UserError(f"these are no whole CLIP: {error} is missing or misshapen") from error
  image, text = (
    Tower(width, _num_blocks(shapes, name), heads, mlp_width)
    for name, width, heads, mlp_width in zip(
      ("vision_model", "text_model"), (image_width, text_width), num_heads, widths, strict=True
    )
  )
  side = round((rows - 1) ** 0.5)
  native = (side * patch_size,) * 2 if side * side == rows - 1 else tuple(image_size)
  return Variant(
    image, text, patch_size, embedding_size, native, activation, vocabulary_size=vocabulary_size,
    text_length=text_length, end_token=vocabulary_size - 1,
  )  # fmt: skip


def _num_blocks(shapes, tower):
  marks = [name.split(".") for name in shapes if name.startswith(f"{tower}.encoder.layers.")]
  return 1 + max(int(parts[3]) for parts in marks)
