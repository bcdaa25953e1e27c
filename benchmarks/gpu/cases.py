"""The computations of the checks: run on a CPU for tests/testdata/gpu/golden.npz, and on a GPU to compare with it."""

import contextlib
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step as step_benchmark
from tests import agreement, exports
from tests.models import parity
from tests.models.trees import SMALL
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.transforms.augment import normalise
from tireid_jax.evaluation import embedding
from tireid_jax.models.execution import Execution, choose_dot_general
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.training import initialization
from tireid_jax.training.program import Program

TESTDATA = pathlib.Path(__file__).parents[2] / "tests/testdata"
# Number of evenly spaced elements that are stored of each gradient and weight.
NUM_SAMPLES = 64
SIZE = (32, 16)
STEP_BATCH_SIZE = 8


def full_precision():
  """Context with full float32 precision in products: by default GPUs round the operands to 10 bits (TF32)."""
  return jax.default_matmul_precision("highest")


def steps(case):
  """Returns {name: array} of 20 steps of a case of tests/agreement.py in float32, NUM_SAMPLES elements of each leaf.

  The names are "loss" (f32[20]), "learning_rate", and for each leaf "gradient/PATH", "weight/PATH" and
  "scale/gradient/PATH" (the largest absolute value of the whole leaf).
  """
  with full_precision():
    computed = agreement.compute(case, "1,1,1")
  found = {"loss": computed["loss"], "learning_rate": np.float32(computed["learning_rate"])}
  for name, leaf in computed.items():
    if name.startswith(("gradient/", "weight/")):
      found[name] = leaf.ravel()[np.linspace(0, leaf.size - 1, min(leaf.size, NUM_SAMPLES)).astype(int)]
    if name.startswith("gradient/"):
      found[f"scale/{name}"] = np.abs(leaf).max()
  return found


def step_settings(**changes):
  """Returns the arguments of benchmarks/step.py for a step of the reference's recipe in bfloat16, with changes."""
  settings = {
    "stage": 2, "batch_size": STEP_BATCH_SIZE, "captions_per_image": 1, "caption_length": 0, "prompt_length": -1,
    "prompt_depth": 1, "losses": "sdm,identity", "precision": "bfloat16", "blocks": "auto", "remat": "auto",
  }  # fmt: skip
  return types.SimpleNamespace(**{**settings, **changes})


def first_step(precision, variant="ViT-B/16", image_size=(384, 128)):
  """Returns {name: f32[]} of the first step of stage 2 with fixed weights and batch: losses and gradient norms."""
  args = step_settings(precision=precision)
  config, stage = step_benchmark.configured(args)
  config.data.image_size = image_size
  mesh = sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1])
  program = Program(
    config, stage, VARIANTS[variant], mesh, num_identities=step_benchmark.NUM_IDENTITIES, steps_per_epoch=1000
  )
  with full_precision() if precision == "float32" else contextlib.nullcontext():
    initialize = jax.jit(lambda: initialization.random_variables(program.model, program.key, program.num_identities))
    state = program.first_state(initialize())
    _, metrics = program.step()(state, sharding.put_batch(mesh, step_benchmark.random_batch(args, config)))
  return {name: np.asarray(value) for name, value in metrics.items()}


def prompted_embeddings():
  """Returns {"image" f32[5, E], "text" f32[7, E]} of a small prompted CLIP in float32."""
  model, variables = exports.random_clip(SIZE, exports.PROMPTS)
  with full_precision():
    return {
      "image": np.asarray(
        jax.jit(lambda v, x: model.apply(v, normalise(x), method="encode_image"))(variables, exports.images(5, SIZE))
      ),
      "text": np.asarray(
        jax.jit(lambda v, x: model.apply(v, x, method="encode_text"))(variables, exports.tokens(7, SMALL))
      ),
    }


def evaluation():
  """Returns {"t2i/R@1": percent, ...} of both directions, of a small prompted CLIP on synthetic data."""
  model, variables = exports.random_clip(SIZE, exports.PROMPTS)
  images, tokens = exports.images(48, SIZE), exports.tokens(96, SMALL)
  indices = np.arange(48, dtype=np.int32)
  split = Split(
    "synthetic", "test", images, indices // 4, indices // 4, 12, tokens, np.arange(96, dtype=np.int32) // 2, [], [], ""
  )
  with full_precision():
    encoders = embedding.Encoders(model, sharding.make_mesh(1, 1, 1, devices=jax.devices()[:1]), 16)
    _, _, scores = encoders.score(variables, split, (SMALL.text_length,))
  return {
    f"{direction}/{name}": np.float32(value)
    for direction, metrics in embedding.summarize(scores).items()
    for name, value in metrics.items()
  }


def bfloat16_distances(folder, seed):
  """Returns {output: distance of bfloat16 from transformers' stored float32 outputs}, as in tests/models/parity.py."""
  model, *inputs, reference = stored_parity(folder, "quick_gelu", seed)
  platform = jax.default_backend()
  execution = Execution(jnp.bfloat16, dot_general=choose_dot_general(dtype=jnp.bfloat16, platform=platform))
  return parity.distances(parity.outputs(model.clone(execution=execution), *inputs), reference)


def stored_parity(folder, name, seed):
  """Returns (model, variables, images, tokens, {output: what transformers returned}) of a model of parity.STORED."""
  stored = np.load(TESTDATA / "parity/clip.npz")
  variant = parity.STORED[name]
  model, variables = parity.load_random(folder, variant, seed)
  reference = {output: stored[f"{name}_{seed}_{output}"] for output in parity.OUTPUTS}
  return model, variables, *parity.random_inputs(variant, seed), reference
