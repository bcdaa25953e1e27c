"""Compares CLIP with stored outputs of transformers' CLIPModel. `make parity` runs torch itself."""

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
  """Returns (model, variables, images, tokens, {name: output of transformers})."""
  variant = parity.STORED[name]
  with tempfile.TemporaryDirectory() as folder:
    model, variables = parity.load_random(pathlib.Path(folder), variant, seed)
  reference = {output: STORED[f"{name}_{seed}_{output}"] for output in parity.OUTPUTS}
  return model, variables, *parity.random_inputs(variant, seed), reference


@every_model
@every_seed
def test_random_weights_and_inputs_are_the_stored_ones(name, seed):
  found = parity.fingerprint(parity.STORED[name], seed)
  hint = "NumPy's random numbers have changed; recreate the stored outputs: python -m tests.testdata.parity.make"
  np.testing.assert_allclose(found, STORED[f"{name}_{seed}_drawn"], rtol=1e-6, err_msg=hint)


@every_model
@every_seed
def test_hidden_states_and_embeddings_equal_those_of_transformers(name, seed):
  *inputs, reference = stored(name, seed)
  assert parity.broken(parity.outputs(*inputs), reference) == set()


# One mistake is also tested in the second model; `make parity` tests all mistakes in several models.
@pytest.mark.parametrize(
  ("name", "mistake"), [("gelu", "the other activation"), *(("quick_gelu", mistake) for mistake in parity.MISTAKES)]
)
@every_seed
def test_a_mistake_breaks_exactly_the_outputs_that_it_affects(name, mistake, seed):
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
def test_bfloat16_outputs_are_within_their_bound(seed, platform):
  model, *inputs, reference = stored("quick_gelu", seed)
  execution = Execution(jnp.bfloat16, dot_general=choose_dot_general(dtype=jnp.bfloat16, platform=platform))
  distances = parity.distances(parity.outputs(model.clone(execution=execution), *inputs), reference)
  assert all(parity.BROKEN < distance < parity.BFLOAT16_BOUND for distance in distances.values()), distances
