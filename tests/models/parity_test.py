"""CLIP against outputs of transformers' torch CLIPModel that are stored. `make parity` runs torch itself."""

import functools
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import parity
from tireid_jax.models.execution import Execution, choose_dot_general

STORED = np.load(pathlib.Path(__file__).parents[1] / "testdata/parity/clip.npz")

every_seed = pytest.mark.parametrize("seed", parity.STORED_SEEDS)
every_model = pytest.mark.parametrize("name", parity.STORED)


@functools.cache
def stored(name, seed):
  """Returns (model, variables, images, tokens, {name: what transformers returned for them})."""
  variant = parity.STORED[name]
  with tempfile.TemporaryDirectory() as folder:
    model, variables = parity.load_random(pathlib.Path(folder), variant, seed)
  reference = {output: STORED[f"{name}_{seed}_{output}"] for output in parity.OUTPUTS}
  return model, variables, *parity.random_inputs(variant, seed), reference


@every_model
@every_seed
def test_weights_and_inputs_are_drawn_as_they_were(name, seed):
  drawn = parity.fingerprint(parity.STORED[name], seed)
  told = "NumPy draws other numbers than it did; make these anew: python -m tests.testdata.parity.make"
  np.testing.assert_allclose(drawn, STORED[f"{name}_{seed}_drawn"], rtol=1e-6, err_msg=told)


@every_model
@every_seed
def test_every_block_and_both_embeddings_are_those_of_transformers(name, seed):
  *inputs, reference = stored(name, seed)
  assert parity.broken(parity.outputs(*inputs), reference) == set()


# The others need no second model here; `make parity` makes every one in several.
@pytest.mark.parametrize(
  ("name", "mistake"), [("gelu", "the other activation"), *(("quick_gelu", mistake) for mistake in parity.MISTAKES)]
)
@every_seed
def test_a_mistake_breaks_what_it_touches_and_nothing_else(name, mistake, seed):
  *inputs, reference = stored(name, seed)
  mistake = parity.MISTAKES[mistake]
  assert parity.broken(mistake.make(*inputs), reference) == mistake.breaks


@every_seed
def test_text_padded_to_77_has_the_embedding_of_shorter_text(seed):
  model, variables, _, tokens, reference = stored("quick_gelu", seed)
  padded = np.pad(tokens, [(0, 0), (0, 77 - tokens.shape[1])])
  found = {"text": parity.encode_text(model, variables, padded)}
  assert parity.broken(found, {"text": reference["text"]}) == set()


@every_seed
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_bfloat16_stays_within_its_bound_of_float32(seed, platform):
  model, *inputs, reference = stored("quick_gelu", seed)
  execution = Execution(jnp.bfloat16, dot_general=choose_dot_general(dtype=jnp.bfloat16, platform=platform))
  distances = parity.distances(parity.outputs(model.clone(execution=execution), *inputs), reference)
  assert all(parity.BROKEN < distance < parity.BFLOAT16_BOUND for distance in distances.values()), distances
