"""CLIP with deep prompts in NumPy and float64, one image or caption at a time, as the papers define it.

Sources: Radford et al., ICML 2021 (CLIP), arXiv 2103.00020; Jia et al., ECCV 2022 (VPT-deep), arXiv 2203.12119: block i
replaces the outputs of block i - 1 at the prompt positions by prompts of its own. Shares only variable names with our
implementation.
"""

import math

import numpy as np


def encode_image(variables, image, *, variant, prompts):
  """Returns f64[E] of an image f[h, w, 3].

  Args:
    variables: {"params": tree, "prompts": tree}.
    image: normalised.
    variant: sizes and numerics.
    prompts: whether to insert prompts.
  """
  weights, patch_size = _f64(variables["params"]["image_encoder"]), variant.patch_size
  height, width, _ = image.shape
  tokens = [weights["class_embedding"]]
  for top in range(0, height - patch_size + 1, patch_size):
    for left in range(0, width - patch_size + 1, patch_size):
      patch = _f64(image[top : top + patch_size, left : left + patch_size])
      tokens.append(patch.reshape(-1) @ weights["patch_embedding"]["kernel"])
  stream = [token + position for token, position in zip(tokens, weights["position_embedding"], strict=True)]
  stream = [_layer_norm(token, weights["ln_pre"], variant) for token in stream]
  tokens_of_prompts = _f64(variables["prompts"]["image_encoder"]["tokens"]) if prompts else []
  stream = _transformer(stream, weights["transformer"], variant.image, variant, tokens_of_prompts, is_causal=False)
  return _layer_norm(stream[0], weights["ln_post"], variant) @ weights["projection"]["kernel"]


def encode_text(variables, ids, *, variant, prompts):
  """Returns f64[E] of a caption i[L]; the other arguments are those of `encode_image`."""
  weights = _f64(variables["params"]["text_encoder"])
  table, positions = weights["token_embedding"]["embedding"], weights["position_embedding"]
  stream = [table[i] + positions[position] for position, i in enumerate(ids)]
  tokens_of_prompts = _f64(variables["prompts"]["text_encoder"]["tokens"]) if prompts else []
  stream = _transformer(stream, weights["transformer"], variant.text, variant, tokens_of_prompts, is_causal=True)
  end = list(ids).index(variant.end_token) + (tokens_of_prompts.shape[1] if prompts else 0)
  return _layer_norm(stream[end], weights["ln_final"], variant) @ weights["projection"]["kernel"]


def _transformer(stream, weights, tower, variant, prompts, *, is_causal):
  """Returns the stream after all blocks; prompts follow its first token."""
  for number in range(tower.num_blocks):
    if number < len(prompts):
      first_kept = 1 if number == 0 else 1 + len(prompts[0])
      stream = [stream[0], *prompts[number], *stream[first_kept:]]
    stream = _block(stream, _of_block(weights, number, tower.num_blocks), tower, variant, is_causal)
  return stream


def _of_block(weights, number, num_blocks):
  """Returns the weights of a block; those of all blocks but the last are stacked."""
  if number == num_blocks - 1:
    return weights["last_block"]

  def pick(tree):
    return {name: pick(value) if isinstance(value, dict) else value[number] for name, value in tree.items()}

  return pick(weights["blocks"])


def _block(stream, weights, tower, variant, is_causal):
  normalised = [_layer_norm(x, weights["ln_1"], variant) for x in stream]
  mixed = _attention(normalised, weights["attn"], tower.num_heads, is_causal)
  stream = [x + y for x, y in zip(stream, mixed, strict=True)]
  hidden = [_linear(_layer_norm(x, weights["ln_2"], variant), weights["fc"]) for x in stream]
  return [x + _linear(_activate(h, variant.activation), weights["proj"]) for x, h in zip(stream, hidden, strict=True)]


def _attention(stream, weights, num_heads, is_causal):
  query, key, value = ([_linear(x, weights[name]) for x in stream] for name in ("query", "key", "value"))
  size = len(query[0]) // num_heads
  outputs = []
  for position, q in enumerate(query):
    num_seen = position + 1 if is_causal else len(stream)
    heads = []
    for head in range(num_heads):
      part = slice(head * size, (head + 1) * size)
      scores = np.array([q[part] @ key[other][part] / math.sqrt(size) for other in range(num_seen)])
      weight = np.exp(scores) / np.exp(scores).sum()
      heads.append(sum(weight[other] * value[other][part] for other in range(num_seen)))
    outputs.append(_linear(np.concatenate(heads), weights["out"]))
  return outputs


def _activate(x, name):
  if name == "quick_gelu":
    return x / (1 + np.exp(-1.702 * x))
  return np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x])


def _layer_norm(x, weights, variant):
  std = np.sqrt(((x - x.mean()) ** 2).mean() + variant.layer_norm_eps)
  return (x - x.mean()) / std * weights["scale"] + weights["bias"]


def _linear(x, weights):
  return x @ weights["kernel"] + weights["bias"]


def _f64(tree):
  """Returns a tree of dicts, or one array, in float64."""
  if isinstance(tree, dict):
    return {name: _f64(value) for name, value in tree.items()}
  return np.asarray(tree, np.float64)
