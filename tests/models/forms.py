"""Writes the weights of `trees` in every published file format, without torch, and converts them to our params."""

import jax
import numpy as np
from flax.serialization import msgpack_serialize
from safetensors.numpy import save_file

from tests.models.trees import SMALL, hf_config, open_clip_config, write_json
from tests.models.weights.archives import Storage, module, tensor, write_archive

_STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "bfloat16": "BFloat16Storage", "int64": "LongStorage"}
_OPENAI_BLOCK = {
  "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
  "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
_OPENAI_TOP = {
  "vision_model.embeddings.class_embedding": "visual.class_embedding",
  "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
  "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
  "vision_model.pre_layrnorm": "visual.ln_pre",
  "vision_model.post_layernorm": "visual.ln_post",
  "text_model.embeddings.token_embedding": "{text}token_embedding",
  "text_model.embeddings.position_embedding.weight": "{text}positional_embedding",
  "text_model.final_layer_norm": "{text}ln_final",
}


def to_openai(tensors, text=""):
  """Returns the tensors with OpenAI's names and layout; `text` is the prefix of those of the text tower."""
  named = {}
  for name, values in tensors.items():
    owner, _, kind = name.rpartition(".")
    tower, _, rest = name.partition(".encoder.layers.")
    if rest:
      block, _, part = owner.partition(".encoder.layers.")[2].partition(".")
      prefix = f"{'visual.' if tower == 'vision_model' else text}transformer.resblocks.{block}."
      if part == "self_attn.q_proj":
        parts = [tensors[f"{tower}.encoder.layers.{block}.self_attn.{p}_proj.{kind}"] for p in "qkv"]
        named[f"{prefix}attn.in_proj_{kind}"] = np.concatenate(parts)
      elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
        named[f"{prefix}{_OPENAI_BLOCK[part]}.{kind}"] = values
    elif owner in ("visual_projection", "text_projection"):
      named["visual.proj" if owner == "visual_projection" else f"{text}text_projection"] = values.T.copy()
    elif name in _OPENAI_TOP:
      named[_OPENAI_TOP[name].format(text=text)] = values
    else:
      named[f"{_OPENAI_TOP[owner].format(text=text)}.{kind}" if owner else name] = values
  return named


def to_flax(tensors):
  """Returns the nested dictionary as which Hugging Face saved Flax models."""
  tree = {}
  for name, values in tensors.items():
    *parents, kind = name.split(".")
    if kind == "weight":
      kind = (
        "embedding" if parents[-1].startswith(("token_", "position_")) else "scale" if values.ndim == 1 else "kernel"
      )
    if kind == "kernel":
      values = values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T
    inner = tree
    for parent in parents:
      inner = inner.setdefault(parent, {})
    inner[kind] = np.ascontiguousarray(values)
  return tree


def write_torch(path, content):
  """Writes nested dictionaries of arrays as torch.save writes those of tensors."""
  storages = {}
  write_archive(path, _stored(content, storages), storages)


def write_torchscript(path, tensors):
  """Writes a TorchScript archive of tensors with OpenAI's names, and the sizes and masks of OpenAI's files."""
  sizes = {"input_resolution": 16, "context_length": 9, "vocab_size": 50}
  tree = {name: np.array(size) for name, size in sizes.items()}
  for name, values in {**tensors, "transformer.resblocks.0.attn_mask": np.zeros((9, 9), np.float16)}.items():
    *parents, last = name.split(".")
    inner = tree
    for parent in parents:
      inner = inner.setdefault(parent, {})
    inner[last] = values
  storages = {}

  def scripted(name, tree):
    parts = {key: scripted(key, part) if isinstance(part, dict) else part for key, part in tree.items()}
    return module(name, training=False, **_stored(parts, storages))

  write_archive(path, scripted("Multimodal", tree), storages, files={"constants.pkl": b"\x80\x02).", "version": b"3"})


def _stored(content, storages):
  """Returns the content with each array replaced by a stored tensor; adds the values to `storages`."""
  if isinstance(content, dict):
    return {key: _stored(part, storages) for key, part in content.items()}
  if not isinstance(content, np.ndarray):
    return content
  key = str(len(storages))
  storages[key] = np.ascontiguousarray(content)
  strides = tuple(step // content.itemsize for step in storages[key].strides) if content.ndim else ()
  return tensor(Storage(key, content.size, _STORAGES[content.dtype.name]), content.shape, strides)


def own_params(tensors, variant):
  """Returns our CLIP's params, f32 arrays, for tensors with Hugging Face's names."""
  float32 = {name: values.astype(np.float32) for name, values in tensors.items()}

  def norm(name):
    return {"scale": float32[f"{name}.weight"], "bias": float32[f"{name}.bias"]}

  def transformer(tower, sizes):
    *stacked, last_block = (block(tower, number) for number in range(sizes.num_blocks))
    blocks = {"blocks": jax.tree.map(lambda *parts: np.stack(parts), *stacked)} if stacked else {}
    return {**blocks, "last_block": last_block}

  def block(tower, number):
    def weight(part, kind):
      return float32[f"{tower}.encoder.layers.{number}.{part}.{kind}"].T

    def linear(part):
      return {"kernel": weight(part, "weight"), "bias": weight(part, "bias")}

    def norms(part):
      return {"scale": weight(part, "weight"), "bias": weight(part, "bias")}

    attention = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
    return {
      "attn": {own: linear(f"self_attn.{theirs}") for own, theirs in attention.items()},
      "fc": linear("mlp.fc1"),
      "proj": linear("mlp.fc2"),
      "ln_1": norms("layer_norm1"),
      "ln_2": norms("layer_norm2"),
    }

  patches = float32["vision_model.embeddings.patch_embedding.weight"]
  return {
    "image_encoder": {
      "class_embedding": float32["vision_model.embeddings.class_embedding"],
      "patch_embedding": {"kernel": np.stack([patch.transpose(1, 2, 0).ravel() for patch in patches], axis=1)},
      "position_embedding": float32["vision_model.embeddings.position_embedding.weight"],
      "ln_pre": norm("vision_model.pre_layrnorm"),
      "transformer": transformer("vision_model", variant.image),
      "ln_post": norm("vision_model.post_layernorm"),
      "projection": {"kernel": float32["visual_projection.weight"].T},
    },
    "text_encoder": {
      "token_embedding": {"embedding": float32["text_model.embeddings.token_embedding.weight"]},
      "position_embedding": float32["text_model.embeddings.position_embedding.weight"],
      "transformer": transformer("text_model", variant.text),
      "ln_final": norm("text_model.final_layer_norm"),
      "projection": {"kernel": float32["text_projection.weight"].T},
    },
    "logit_scale": float32["logit_scale"],
  }


# Arguments that `load` needs for a bare state dict of SMALL.
BARE = {"num_heads": (2, 1), "activation": "quick_gelu"}

# Each writes the tensors of SMALL to a folder, the weights as `name`, and returns further arguments of `load` or None.


def write_safetensors(folder, tensors, name="model.safetensors"):
  write_json(folder / "config.json", hf_config(SMALL))
  save_file(tensors, folder / name)


def write_shards(folder, tensors, name="model.safetensors.index.json"):
  write_json(folder / "config.json", hf_config(SMALL))
  names = sorted(tensors)
  weight_map = {}
  for shard in range(3):
    part = names[shard::3]
    save_file({key: tensors[key] for key in part}, folder / f"{shard}-of-{name[0]}")
    weight_map |= dict.fromkeys(part, f"{shard}-of-{name[0]}")
  write_json(folder / name, {"metadata": {"total_size": 1}, "weight_map": weight_map})


def write_bin(folder, tensors, name="pytorch_model.bin"):
  write_json(folder / "config.json", hf_config(SMALL))
  # Older files also have a buffer of positions.
  write_torch(folder / name, {**tensors, "text_model.embeddings.position_ids": np.arange(9)[None]})


def write_flax(folder, tensors, name="flax_model.msgpack"):
  write_json(folder / "config.json", hf_config(SMALL))
  (folder / name).write_bytes(msgpack_serialize(to_flax(tensors)))


def write_open_clip(folder, tensors, name="open_clip_model.safetensors"):
  write_json(folder / "open_clip_config.json", open_clip_config(SMALL))
  save_file(to_openai(tensors), folder / name)


def write_open_clip_text(folder, tensors, name="open_clip_model.safetensors"):
  write_json(folder / "open_clip_config.json", open_clip_config(SMALL))
  save_file(to_openai(tensors, text="text."), folder / name)


def write_open_clip_bin(folder, tensors, name="open_clip_pytorch_model.bin"):
  write_json(folder / "open_clip_config.json", open_clip_config(SMALL))
  write_torch(folder / name, to_openai(tensors))


def write_open_clip_checkpoint(folder, tensors, name="epoch_32.pt"):
  write_json(folder / "open_clip_config.json", open_clip_config(SMALL))
  state = {f"module.{key}": values for key, values in to_openai(tensors).items()}
  write_torch(folder / name, {"epoch": 32, "name": "run", "state_dict": state, "optimizer": {"lr": 1e-3}})


def write_openai(folder, tensors, name="ViT-B-16.pt"):
  write_torchscript(folder / name, to_openai(tensors))


def write_trainer(folder, tensors, name="best.pth", prefix="base_model."):
  state = {f"{prefix}{key}": values for key, values in to_openai(tensors).items()}
  head = prefix.removesuffix("base_model.") + "classifier.weight"
  write_torch(folder / name, {"model": {**state, head: np.ones((3, 8), np.float32)}, "epoch": 60})
  return BARE


def write_parallel_trainer(folder, tensors, name="best.pth"):
  return write_trainer(folder, tensors, name, "module.base_model.")


def write_bare(folder, tensors, name="clip.pt"):
  write_torch(folder / name, to_openai(tensors))
  return BARE


def write_bare_hf(folder, tensors, name="clip.pt"):
  write_torch(folder / name, tensors)
  return BARE


FORMS = [
  write_safetensors, write_shards, write_bin, write_flax, write_open_clip, write_open_clip_text, write_open_clip_bin,
  write_open_clip_checkpoint, write_openai, write_trainer, write_parallel_trainer, write_bare, write_bare_hf,
]  # fmt: skip
