"""The Variant of a CLIP, from the config file in the folder of its weights or from the shapes of its tensors.

Only a config file has the numbers of heads, the activation and the LayerNorm epsilon.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from tireid_jax.errors import UserError
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.models.weights.tensor import Tensor

# Older Hugging Face CLIP configs give this wrong end token. The models pool at the highest id, the vocabulary's last.
_WRONG_END_TOKEN = 2
# open_clip's fields for a plain vision transformer and text transformer.
_OPEN_CLIP_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
_OPEN_CLIP_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
# Characters quoted of a library's error message, which may contain the whole config.
_MAX_REASON = 500
# Values with which any other field of open_clip's has no effect.
_UNUSED = (None, False, 0, 0.0, "tok", "argmax", "none", "causal")


def read_config(path: pathlib.Path, family: str) -> Variant | None:
  """Returns the Variant described by the config file in the folder of a weight file, or None if there is none.

  Args:
    path: of the weights.
    family: naming scheme of the weights, as in `names.Renamed`; decides which of two config files is read.

  Raises:
    UserError: if the config is damaged or describes a model other than a plain CLIP.
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
      except Exception as error:  # A field of the wrong type may raise any error in the library.
        raise UserError(f"{file}: {' '.join(str(error).split())[:_MAX_REASON]}") from error
  return None


def is_clip_config(file: pathlib.Path) -> bool:
  """Returns whether a file is the Hugging Face `config.json` of a CLIP; False if it does not exist."""
  data = _read_json(file) if file.is_file() else {}
  return "vision_config" in data and "text_config" in data


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  try:
    data = json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
    raise UserError(f"{path} is damaged ({error}); download it again") from error
  return data if isinstance(data, dict) else {}


def from_hugging_face(data: dict[str, Any]) -> Variant:
  """Returns the Variant of a Hugging Face `config.json`; missing fields have the defaults of transformers."""
  # Imported here since it takes a second, which only these weights need. The variable turns off its warning that torch
  # is not installed.
  os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
  from transformers import CLIPConfig

  if data.get("model_type", "clip") != "clip":
    raise UserError(f"it describes a model of type {data['model_type']!r}, not a CLIP")
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


def _both_sides(size: Any) -> tuple[int, int]:
  """Returns (h, w), given either a list of both or the side of a square."""
  if isinstance(size, (list, tuple)):
    height, width = size
    return height, width
  return size, size


def from_open_clip(data: Mapping[str, Any]) -> Variant:
  """Returns the Variant of the `model_cfg` of an `open_clip_config.json`; missing fields have open_clip's defaults."""
  vision, text = data["vision_cfg"], data["text_cfg"]
  for section, known in ((vision, _OPEN_CLIP_VISION), (text, _OPEN_CLIP_TEXT)):
    unknown = sorted(key for key, value in section.items() if key not in known and value not in _UNUSED)
    if unknown:
      name = unknown[0]
      raise UserError(f"{name}={section[name]!r} is not supported; only a plain CLIP with a vision transformer is")
  if isinstance(vision.get("layers"), list):
    raise UserError("it describes a CLIP with a ResNet; only vision transformers are supported")
  # Defaults of open_clip's CLIPVisionCfg and CLIPTextCfg.
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


def from_shapes(
  tensors: Mapping[str, Tensor], *, num_heads: tuple[int, int], activation: str, image_size: tuple[int, int]
) -> Variant:
  """Returns the Variant inferred from the shapes of tensors.

  Args:
    tensors: by Hugging Face name.
    num_heads: (image, text), which cannot be inferred.
    activation: "quick_gelu" or "gelu", which cannot be inferred either.
    image_size: (h, w) in pixels, taken as the native size unless the position embeddings form a square grid.

  Raises:
    UserError: if a tensor that is needed is missing or has the wrong number of dimensions.
  """
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  try:
    patch_size = shapes["vision_model.embeddings.patch_embedding.weight"][-1]
    vocabulary_size, text_width = shapes["text_model.embeddings.token_embedding.weight"]
    num_positions, image_width = shapes["vision_model.embeddings.position_embedding.weight"]
    text_length = shapes["text_model.embeddings.position_embedding.weight"][0]
    embedding_size = shapes["visual_projection.weight"][0]
    widths = [shapes[f"{tower}.encoder.layers.0.mlp.fc1.weight"][0] for tower in ("vision_model", "text_model")]
  except (KeyError, IndexError, ValueError) as error:
    raise UserError(f"these are not all tensors of a CLIP: {error} is missing or has the wrong shape") from error
  image, text = (
    Tower(width, _num_blocks(shapes, name), heads, mlp_width)
    for name, width, heads, mlp_width in zip(
      ("vision_model", "text_model"), (image_width, text_width), num_heads, widths, strict=True
    )
  )
  height, width = image_size
  side = round((num_positions - 1) ** 0.5)
  native = (side * patch_size, side * patch_size) if side * side == num_positions - 1 else (height, width)
  return Variant(
    image, text, patch_size, embedding_size, native, activation, vocabulary_size=vocabulary_size,
    text_length=text_length, end_token=vocabulary_size - 1,
  )  # fmt: skip


def _num_blocks(names: Iterable[str], tower: str) -> int:
  split_names = [name.split(".") for name in names if name.startswith(f"{tower}.encoder.layers.")]
  return 1 + max(int(parts[3]) for parts in split_names)
