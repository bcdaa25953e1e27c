"""The tensor names of every published form of CLIP -> Hugging Face's, in which the rest of the package speaks."""

import dataclasses
import re

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.weights.tensor import Tensor

# A name that every model of a family has, below whatever prefix a trainer put before it.
_MARKS = {
  "Hugging Face": "vision_model.embeddings.class_embedding",
  "OpenAI": "visual.class_embedding",
}
# Buffers that hold no weights.
_BUFFERS = re.compile(r"(^|\.)(position_ids|attn_mask|input_resolution|context_length|vocab_size)$")

_TOWERS = {"visual": "vision_model", "text": "text_model"}
_OPENAI_BLOCK = {
  "attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
_OPENAI_TOP = {
  "visual.class_embedding": "vision_model.embeddings.class_embedding",
  "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
  "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
  "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
  "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
  "visual.ln_post.weight": "vision_model.post_layernorm.weight",
  "visual.ln_post.bias": "vision_model.post_layernorm.bias",
  "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
  "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
  "text.ln_final.weight": "text_model.final_layer_norm.weight",
  "text.ln_final.bias": "text_model.final_layer_norm.bias",
}
# What the names of a CLIP's tensors begin with, Hugging Face's and OpenAI's; others beside them are a trainer's heads.
# `logit_bias` makes it another model, SigLIP.
_MODULES = {
  "vision_model", "text_model", "visual_projection", "text_projection", "logit_scale", "logit_bias", "visual", "text",
  "transformer", "token_embedding", "positional_embedding", "ln_final",
}  # fmt: skip
# Flax's last part of a name: PyTorch's, and how the tensor is turned.
_FLAX_LEAVES = {"scale": "weight", "embedding": "weight", "bias": "bias"}


@dataclasses.dataclass(frozen=True)
class Renamed:
  """Tensors of a file by Hugging Face's names.

  Attributes:
    family: whose names the file has: "Hugging Face", "OpenAI" (open_clip and the trainers built on either included) or
      "Flax".
    prefix: what a trainer put before CLIP's names, "" if nothing.
    tensors: {Hugging Face's name: Tensor}. A name that belongs to no CLIP is kept, for the caller to refuse.
    beside: names outside the prefix, a trainer's own: heads and the like.
  """

  family: str
  prefix: str
  tensors: dict[str, Tensor]
  beside: list[str]


def to_hugging_face(tensors, prefix=""):
  """Returns the Renamed tensors of {name in the file: Tensor}.

  Args:
    tensors: of the file.
    prefix: of the CLIP that is meant, where there are several: as "model_ema.", or "." for the one at the top.

  Raises:
    ValueError: if these are no tensors of a CLIP, or of several and `prefix` names none of them.
  """
  tensors = {name: tensor for name, tensor in tensors.items() if not _BUFFERS.search(name)}
  families = _families(tensors)
  prefix = _choose(list(families), prefix)
  family = families[prefix]
  # Of a CLIP at the top, the others are no part.
  others = tuple(other for other in families if other and other.startswith(prefix) and other != prefix)
  names = [name for name in tensors if name.startswith(prefix) and not name.startswith(others)]
  inside = {name.removeprefix(prefix): tensors[name] for name in names}
  beside = sorted(tensors.keys() - set(names))
  if family == "OpenAI":
    inside = _from_openai(inside)
  elif any(name.endswith(".kernel") for name in inside):
    family, inside = "Flax", _from_flax(inside)
  heads = {name for name in inside if name.split(".")[0] not in _MODULES}
  beside = sorted([*beside, *(prefix + name for name in heads)])
  return Renamed(family, prefix, {name: inside[name] for name in inside if name not in heads}, beside)


def find_clips(names):
  """Returns {prefix: family} of each CLIP among some names of tensors."""
  found: dict[str, str] = {}
  for family, mark in _MARKS.items():
    marked = [name for name in names if name == mark or name.endswith(f".{mark}")]
    found |= {name.removesuffix(mark): family for name in marked}
  return found


def _families(tensors):
  """Returns what `find_clips` does, of at least one CLIP."""
  found = find_clips(tensors)
  if found:
    return found
  names = sorted(tensors)
  hint = f"its tensors are {', '.join(names[:3])}, ..." if names else "it holds no tensor"
  raise UserError(f"these are no weights of a CLIP with an image transformer; {hint}")


def _choose(prefixes, asked):
  """Returns the one of the prefixes that is asked for, or the only one."""
  wanted = asked.rstrip(".") + "." if asked.strip(".") else ""
  if asked and wanted in prefixes:
    return wanted
  if not asked and len(prefixes) == 1:
    return prefixes[0]
  listed = " and ".join(prefix or "." for prefix in sorted(prefixes))
  if asked:
    raise UserError(f"no CLIP lies below {asked!r}; set --config.pretrained_prefix to one of {listed}")
  raise UserError(f"it holds {len(prefixes)} CLIPs, below {listed}; choose one by --config.pretrained_prefix")


def _from_openai(tensors):
  renamed: dict[str, Tensor] = {}
  for name, tensor in tensors.items():
    # The text tower stands at the top, or below `text` (open_clip's models with a text tower of its own).
    full = name if name.startswith(("visual.", "text.")) else f"text.{name}"
    tower, _, rest = full.partition(".")
    block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", rest)
    if block:
      renamed |= _openai_block(f"{_TOWERS[tower]}.encoder.layers.{block[1]}", block[2], tensor)
    elif full in ("visual.proj", "text.text_projection"):
      target = {"visual": "visual_projection", "text": "text_projection"}[tower]
      renamed[f"{target}.weight"] = tensor.map(tensor.shape[::-1], np.transpose)
    else:
      renamed[_OPENAI_TOP.get(full, name)] = tensor
  return renamed


def _openai_block(layer, name, tensor):
  """Returns {name: Tensor} of one tensor of a block; the joint projection of query, key and value is three."""
  part, _, kind = name.rpartition(".")
  if name in ("attn.in_proj_weight", "attn.in_proj_bias"):
    kind, rows = name.removeprefix("attn.in_proj_"), tensor.shape[0] // 3

    def third(place):
      return tensor.map((rows, *tensor.shape[1:]), lambda values: values[place * rows : (place + 1) * rows])

    return {f"{layer}.self_attn.{part}.{kind}": third(i) for i, part in enumerate(("q_proj", "k_proj", "v_proj"))}
  return {f"{layer}.{_OPENAI_BLOCK.get(part, part)}.{kind}": tensor}


def _from_flax(tensors):
  renamed = {}
  for name, tensor in tensors.items():
    part, _, leaf = name.rpartition(".")
    if leaf == "kernel" and len(tensor.shape) == 4:  # HWIO -> OIHW
      height, width, inputs, outputs = tensor.shape
      name = f"{part}.weight"
      tensor = tensor.map((outputs, inputs, height, width), lambda values: values.transpose(3, 2, 0, 1))
    elif leaf == "kernel":
      name, tensor = f"{part}.weight", tensor.map(tensor.shape[::-1], np.transpose)
    elif leaf in _FLAX_LEAVES:
      name = f"{part}.{_FLAX_LEAVES[leaf]}"
    renamed[name] = tensor
  return renamed
