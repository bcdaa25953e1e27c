"""Renames the tensors of every published format of CLIP to their Hugging Face names, which other modules use."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.weights.tensor import Tensor

# A tensor that every model of a family has; its name may have a prefix, put there by the training code.
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
# First parts of the names of CLIP's tensors, for Hugging Face and OpenAI; tensors of other names are additional heads.
# `logit_bias` is here so that SigLIP, which has it, is rejected.
_MODULES = {
  "vision_model", "text_model", "visual_projection", "text_projection", "logit_scale", "logit_bias", "visual", "text",
  "transformer", "token_embedding", "positional_embedding", "ln_final",
}  # fmt: skip
# Last part of a name in Flax: in PyTorch. Kernels are transposed as well and handled separately.
_FLAX_LEAVES = {"scale": "weight", "embedding": "weight", "bias": "bias"}


@dataclasses.dataclass(frozen=True)
class Renamed:
  """Tensors of a file by their Hugging Face names.

  Attributes:
    family: naming scheme of the file: "Hugging Face", "OpenAI" (also used by open_clip and by code built on either) or
      "Flax".
    prefix: put before CLIP's tensor names by the training code that wrote the file; "" for none.
    tensors: by Hugging Face name. Unknown names inside CLIP's modules are included, for the caller to reject.
    ignored: names in the file of tensors outside CLIP, such as a classification head.
  """

  family: str
  prefix: str
  tensors: dict[str, Tensor]
  ignored: list[str]


def to_hugging_face(tensors: Mapping[str, Tensor], prefix: str = "") -> Renamed:
  """Renames the tensors of a file.

  Args:
    tensors: by their names in the file.
    prefix: of the CLIP to select from several, such as "model_ema.", or "." for the one without a prefix.

  Raises:
    UserError: if there is no CLIP among the tensors, or several and `prefix` selects none of them.
  """
  tensors = {name: tensor for name, tensor in tensors.items() if not _BUFFERS.search(name)}
  families = _families(tensors)
  prefix = _choose(list(families), prefix)
  family = families[prefix]
  # A CLIP with a shorter prefix does not include the CLIPs below it.
  others = tuple(other for other in families if other and other.startswith(prefix) and other != prefix)
  names = [name for name in tensors if name.startswith(prefix) and not name.startswith(others)]
  inside = {name.removeprefix(prefix): tensors[name] for name in names}
  outside = tensors.keys() - set(names)
  if family == "OpenAI":
    inside = _from_openai(inside)
  elif any(name.endswith(".kernel") for name in inside):
    family, inside = "Flax", _from_flax(inside)
  heads = {name for name in inside if name.split(".")[0] not in _MODULES}
  ignored = sorted([*outside, *(prefix + name for name in heads)])
  return Renamed(family, prefix, {name: inside[name] for name in inside if name not in heads}, ignored)


def find_clips(names: Iterable[str]) -> dict[str, str]:
  """Returns {prefix: family} of each CLIP among tensor names."""
  found: dict[str, str] = {}
  for family, mark in _MARKS.items():
    marked = [name for name in names if name == mark or name.endswith(f".{mark}")]
    found |= {name.removesuffix(mark): family for name in marked}
  return found


def _families(tensors: Mapping[str, Tensor]) -> dict[str, str]:
  """Returns {prefix: family} as `find_clips`; raises UserError if there is no CLIP."""
  found = find_clips(tensors)
  if found:
    return found
  names = sorted(tensors)
  hint = f"its tensors are {', '.join(names[:3])}, ..." if names else "it has no tensors"
  raise UserError(f"these are not the weights of a CLIP with a vision transformer; {hint}")


def _choose(prefixes: Sequence[str], requested: str) -> str:
  """Returns the requested prefix, or the only one."""
  wanted = requested.rstrip(".") + "." if requested.strip(".") else ""
  if requested and wanted in prefixes:
    return wanted
  if not requested and len(prefixes) == 1:
    return prefixes[0]
  listed = " and ".join(prefix or "." for prefix in sorted(prefixes))
  if requested:
    raise UserError(f"no CLIP has the prefix {requested!r}; set --config.pretrained_prefix to one of {listed}")
  raise UserError(f"it has {len(prefixes)} CLIPs, with the prefixes {listed}; choose one by --config.pretrained_prefix")


def _from_openai(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
  renamed: dict[str, Tensor] = {}
  for name, tensor in tensors.items():
    # The text encoder's tensors have no prefix, or `text.` in open_clip's models with a separate text module.
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


def _openai_block(layer: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
  """Returns {name: Tensor} for one tensor of a block, three for the joint projection of query, key and value."""
  part, _, kind = name.rpartition(".")
  if name in ("attn.in_proj_weight", "attn.in_proj_bias"):
    kind, rows = name.removeprefix("attn.in_proj_"), tensor.shape[0] // 3

    def third(index):
      return tensor.map((rows, *tensor.shape[1:]), lambda values: values[index * rows : (index + 1) * rows])

    return {f"{layer}.self_attn.{part}.{kind}": third(i) for i, part in enumerate(("q_proj", "k_proj", "v_proj"))}
  return {f"{layer}.{_OPENAI_BLOCK.get(part, part)}.{kind}": tensor}


def _from_flax(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
