"""For the parity tests: random weights and inputs, our outputs, their distances from a reference, and mistakes that the
tests must detect."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from tests.models.trees import clip_tensors, hf_config, write_json
from tireid_jax.models import pretrained
from tireid_jax.models.transformer import Block
from tireid_jax.models.variants import Tower, Variant

# Relative to an output's scale, which is its largest absolute value in the reference.
BOUND = 2e-5
# From here on, an output counts as broken; between the two bounds, it is neither equal nor clearly broken.
BROKEN = 10 * BOUND
# For computation in bfloat16, which rounds to 1/256. Largest distance measured in ViT-B/16 over several seeds: 0.019.
BFLOAT16_BOUND = 0.03

# Hidden states after each block but the last, those of the last block at the pooled position, and embeddings.
OUTPUTS = ("image_blocks", "image_last", "image", "text_blocks", "text_last", "text")
IMAGES = frozenset({"image_blocks", "image_last", "image"})

# Models whose outputs in transformers are stored in tests/testdata/parity for each of STORED_SEEDS.
STORED = {
  "quick_gelu": Variant(
    Tower(48, 3, 3), Tower(32, 2, 4), patch_size=8, embedding_size=24, native_image_size=(32, 32), vocabulary_size=60,
    end_token=59,
  ),
  "gelu": Variant(
    Tower(40, 2, 5, mlp_width=96), Tower(64, 3, 1), patch_size=5, embedding_size=16, native_image_size=(20, 20),
    activation="gelu", layer_norm_eps=1e-3, vocabulary_size=60, end_token=30,
  ),
}  # fmt: skip
STORED_SEEDS = (0, 1)


def random_tensors(variant, seed):
  """Returns {Hugging Face's name: f32 array} of a CLIP in which every weight and bias affects outputs beyond the bound.

  Usual initial values would hide mistakes: biases are 0, LayerNorm scales 1, and attention is almost uniform.
  """
  rng = np.random.default_rng(seed)

  def tensor(name, shape):
    values = np.asarray(rng.standard_normal(shape, dtype=np.float32), np.float32)
    values *= _std(name, shape)
    values += _mean(name)
    return values

  return {name: tensor(name, values.shape) for name, values in clip_tensors(variant).items()}


def _mean(name):
  return {"logit_scale": 4.0}.get(name, 1.0 if "norm" in name and name.endswith("weight") else 0.0)


def _std(name, shape):
  """Returns the standard deviation with which matrices preserve the scale of their inputs and attention is non-uniform.

  Inputs of the first LayerNorm are small, as in OpenAI's models, so that its eps affects the outputs.
  """
  if ".embeddings." in name:
    return 0.02 * (np.prod(shape[1:]) ** -0.5 if "patch" in name else 1.0)
  if len(shape) < 2:
    return 0.5
  return (1.5 if "q_proj" in name or "k_proj" in name else 1.0) * shape[1] ** -0.5


def random_inputs(variant, seed, *, batch_size=3, length=12, image_size=None):
  """Returns (images f32[B, h, w, 3], tokens i32[B, L]) with captions of every length from 1 token to L - 2.

  The start token is the second to last of the vocabulary; the padding token is 0.
  """
  rng = np.random.default_rng(seed)
  images = rng.standard_normal((batch_size, *(image_size or variant.native_image_size), 3), dtype=np.float32)
  start, end = variant.vocabulary_size - 2, variant.end_token
  words = np.setdiff1d(np.arange(1, variant.vocabulary_size), [start, end])
  tokens = np.zeros((batch_size, length), np.int32)
  for caption, end_position in zip(tokens, np.linspace(2, length - 1, batch_size).astype(int), strict=True):
    caption[1:end_position] = rng.choice(words, end_position - 1)
    caption[[0, end_position]] = start, end
  return images, tokens


def fingerprint(variant, seed):
  """Returns f64[3]: sums that show whether NumPy still generates the same random weights and inputs."""
  samples = (random_tensors(variant, seed).values(), *([inputs] for inputs in random_inputs(variant, seed)))
  return np.array([sum(np.abs(values).sum(dtype=np.float64) for values in part) for part in samples])


def load_random(folder, variant, seed):
  """Writes `random_tensors` to `folder` without torch and returns what `pretrained.load` returns for it."""
  write_json(folder / "config.json", hf_config(variant))
  save_file(random_tensors(variant, seed), folder / "model.safetensors")
  return pretrained.load(folder, variant.native_image_size)


def _call(next_fun, args, kwargs, context):
  return next_fun(*args, **kwargs)


def outputs(model, variables, images, tokens, interceptor=_call):
  """Returns {name of OUTPUTS: array}: hidden states f[blocks - 1, B, L, D] and f[B, D], embeddings f32[B, E].

  Args:
    model, variables: as `pretrained.load` returns them.
    images: f32[B, h, w, 3].
    tokens: i32[B, L].
    interceptor: of Flax's `intercept_methods`.
  """
  return _outputs(model, variables, images, tokens, interceptor)


def _all_outputs(model, variables, images, tokens, interceptor):
  found = {}
  with nn.intercept_methods(interceptor):
    for name, inputs in (("image", images), ("text", tokens)):
      found[name], state = model.apply(
        variables, inputs, method=f"encode_{name}", mutable=["intermediates"],
        capture_intermediates=lambda module, method: isinstance(module, Block) and method == "__call__",
      )  # fmt: skip
      captured = state["intermediates"][f"{name}_encoder"]["transformer"]
      found[f"{name}_blocks"], _ = captured["blocks"]["__call__"][0]
      last, _ = captured["last_block"]["__call__"][0]
      found[f"{name}_last"] = last[:, 0]
  return found


_outputs = jax.jit(_all_outputs, static_argnums=(0, 4))
# Compiles in half the time, but runs more slowly.
_outputs_unoptimised = jax.jit(
  _all_outputs, static_argnums=(0, 4), compiler_options={"xla_backend_optimization_level": 0}
)


@functools.partial(jax.jit, static_argnums=0)
def encode_text(model, variables, tokens):
  """Returns f32[B, E]."""
  return model.apply(variables, tokens, method="encode_text")


def distances(found, reference):
  """Returns {name: largest absolute difference / the reference's largest absolute value} for outputs of the reference.

  Hidden states are compared per block, each on its own scale; the largest distance of all blocks is returned.
  """
  return {
    name: _distance(np.asarray(found[name], np.float64), values, name.endswith("_blocks"))
    for name, values in reference.items()
  }


def _distance(found, reference, is_per_block):
  if found.shape != reference.shape:
    raise ValueError(f"an output has the shape {found.shape}, the reference's {reference.shape}")
  axes = tuple(range(int(is_per_block), reference.ndim))
  return float(np.max(np.abs(found - reference).max(axes) / np.abs(reference).max(axes)))


def broken(found, reference):
  """Returns the names of the outputs that are clearly broken.

  Raises:
    AssertionError: if the distance of another output exceeds the bound or is NaN.
  """
  distance_of = distances(found, reference)
  wrong = {name for name, distance in distance_of.items() if distance >= BROKEN}
  assert all(distance <= BOUND for name, distance in distance_of.items() if name not in wrong), distance_of
  return wrong


@dataclasses.dataclass(frozen=True)
class Mistake:
  """A mistake in CLIP that the parity tests must detect.

  Attributes:
    breaks: the outputs that the mistake must break; the others must stay within the bound.
    model: maps the correct model to one with the mistake.
    params: maps the correct params to ones with the mistake.
    interceptor: of Flax's `intercept_methods`.
  """

  breaks: frozenset[str]
  model: callable = lambda model: model
  params: callable = lambda params: params
  interceptor: callable = _call

  def make(self, model, variables, images, tokens):
    """Returns the `outputs` of a model with the mistake."""
    variables = {**variables, "params": self.params(variables["params"])}
    return _outputs_unoptimised(self.model(model), variables, images, tokens, self.interceptor)


def _swap_key_and_value(params):
  def swap(path, leaf):
    keys = [key.key for key in path]
    for name, other in (("key", "value"), ("value", "key")):
      if name in keys:
        branch = params
        for key in keys:
          branch = branch[other if key == name else key]
        return branch
    return leaf

  return jax.tree_util.tree_map_with_path(swap, params)


def _other_activation(model):
  other = {"quick_gelu": "gelu", "gelu": "quick_gelu"}[model.variant.activation]
  return model.clone(variant=dataclasses.replace(model.variant, activation=other))


def _another_eps(model):
  return model.clone(variant=dataclasses.replace(model.variant, layer_norm_eps=model.variant.layer_norm_eps / 10))


def _leave_ln_pre_out(next_fun, args, kwargs, context):
  return args[0] if context.module.name == "ln_pre" else next_fun(*args, **kwargs)


def _pool_at_the_last_position(next_fun, args, kwargs, context):
  if context.module.path != ("text_encoder", "transformer"):
    return next_fun(*args, **kwargs)
  x, position, *rest = args
  return next_fun(x, jnp.full_like(position, x.shape[1] - 1), *rest, **kwargs)


MISTAKES = {
  "swapped K and V": Mistake(frozenset(OUTPUTS), params=_swap_key_and_value),
  "the other activation": Mistake(frozenset(OUTPUTS), model=_other_activation),
  "another eps": Mistake(frozenset(OUTPUTS), model=_another_eps),
  "no ln_pre": Mistake(IMAGES, interceptor=_leave_ln_pre_out),
  "pooling at the last position": Mistake(frozenset({"text_last", "text"}), interceptor=_pool_at_the_last_position),
}
