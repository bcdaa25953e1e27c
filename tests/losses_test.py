"""The losses, compared with values and gradients of the reference implementation and with values computed by hand."""

import functools
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax import losses
from tireid_jax.errors import UserError

TESTDATA = pathlib.Path(__file__).parent / "testdata"
GOLDEN = json.loads((TESTDATA / "losses.json").read_text())["cases"]["repeated_ids"]
with np.load(TESTDATA / "losses.npz") as arrays:
  ARRAYS = {name.removeprefix("repeated_ids/"): arrays[name] for name in arrays.files}

# Each loss of the golden file as a function of the two arrays with respect to which its gradients are stored.
LOSSES = {
  "sdm": lambda image, text: losses.sdm_loss(image, text, ARRAYS["pids"], temperature=0.02),
  "sdm_scale_20": lambda image, text: losses.sdm_loss(image, text, ARRAYS["pids"], temperature=1 / 20),
  "itc": lambda image, text: losses.itc_loss(image, text, temperature=0.02),
  "cmpm": lambda image, text: losses.cmpm_loss(image, text, ARRAYS["pids"]),
  "id": lambda image, text: losses.identity_loss(image, text, ARRAYS["labels"]),
}
EMBEDDING_LOSSES = {name: loss for name, loss in LOSSES.items() if name != "id"}


def operands(name):
  return [ARRAYS[f"{encoder}_logits" if name == "id" else encoder] for encoder in ("image", "text")]


@pytest.mark.parametrize("name", LOSSES)
def test_value_equals_the_reference(name):
  np.testing.assert_allclose(jax.jit(LOSSES[name])(*operands(name)), GOLDEN[name]["float32"], rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_the_reference(name):
  gradients = jax.jit(jax.grad(LOSSES[name], argnums=(0, 1)))(*operands(name))
  for encoder, gradient in zip(("image", "text"), gradients, strict=True):
    expected = ARRAYS[f"{name}/grad_{encoder}{'_logits' if name == 'id' else ''}"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_a_stages_losses_take_their_arguments_from_the_batch_and_none_is_on_by_default():
  image, text = map(jnp.asarray, operands("sdm"))
  head = {"kernel": jnp.linspace(-1.0, 1.0, image.shape[1] * 3).reshape(-1, 3), "bias": jnp.array([0.5, 0.0, -0.5])}
  ids = jnp.arange(len(image)) % 3
  temperature = jnp.float32(0.05)
  batch = {"image": image, "text": text, "person_id": ids, "temperature": temperature, "id_head": head}
  logits = [embedding @ head["kernel"] + head["bias"] for embedding in (image, text)]
  expected = {
    "sdm": losses.sdm_loss(image, text, ids, temperature=temperature),
    "itc": losses.itc_loss(image, text, temperature=temperature, person_id=ids),
    "itc_plain": losses.itc_loss(image, text, temperature=temperature),
    "cmpm": losses.cmpm_loss(image, text, ids),
    "identity": losses.identity_loss(*logits, ids),
  }
  assert {name: loss.default_weight for name, loss in losses.LOSSES.items()} == dict.fromkeys(expected, 0.0)
  for name, loss in losses.LOSSES.items():
    assert loss.description
    np.testing.assert_allclose(loss.compute(batch), expected[name], rtol=1e-6)
  assert len(set(map(float, expected.values()))) == len(expected)


def test_names_of_losses_are_checked():
  losses.check_names(["sdm", "identity"])
  with pytest.raises(UserError, match="there is no loss 'triplet'; the losses are sdm, itc"):
    losses.check_names(["sdm", "triplet"])


@pytest.mark.parametrize("name", EMBEDDING_LOSSES)
def test_an_embedding_of_zeros_gives_finite_values_and_gradients(name):
  image, text = (jnp.asarray(embedding).at[3].set(0.0) for embedding in operands(name))
  value, gradients = jax.value_and_grad(LOSSES[name], argnums=(0, 1))(image, text)
  assert np.isfinite(value)
  assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", ["sdm", "itc"])
def test_losses_do_not_depend_on_the_norm_of_the_embeddings(name):
  image, text = operands(name)
  np.testing.assert_allclose(LOSSES[name](7.0 * image, 0.1 * text), LOSSES[name](image, text), rtol=1e-5)


@pytest.mark.parametrize("name", ["sdm", "itc"])
def test_losses_do_not_depend_on_the_norm_of_tiny_embeddings(name):
  image, text = operands(name)
  np.testing.assert_allclose(LOSSES[name](1e-9 * image, 1e-9 * text), LOSSES[name](image, text), rtol=1e-5)


@pytest.mark.parametrize("norm", [0.0, 1e-15])
def test_a_zero_embedding_has_zero_similarities_and_a_zero_gradient(norm):
  # The logits are [[0, 0], [0, 0.8]], a symmetric matrix.
  image, text = jnp.array([[norm, 0], [0, 1]]), jnp.array([[1, 0], [0.6, 0.8]])
  value, gradient = jax.value_and_grad(losses.itc_loss)(image, text, temperature=1.0)
  np.testing.assert_allclose(value, (math.log(2) + math.log(1 + math.exp(0.8)) - 0.8) / 2, rtol=1e-6)
  np.testing.assert_array_equal(gradient[0], [0, 0])


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_embeddings_are_summed_in_float32(name):
  image, text = (jnp.asarray(operand, jnp.bfloat16) for operand in operands(name))
  value = LOSSES[name](image, text)
  assert value.dtype == jnp.float32
  np.testing.assert_allclose(value, LOSSES[name](image.astype(jnp.float32), text.astype(jnp.float32)), rtol=1e-6)


def test_sdm_of_a_perfect_batch_is_near_0():
  image = jnp.eye(4)[jnp.array([0, 1, 2, 2])]
  np.testing.assert_allclose(losses.sdm_loss(image, image, jnp.array([5, 6, 7, 7]), temperature=0.02), 0, atol=1e-6)


def test_itc_without_ids_counts_a_second_image_of_the_same_person_as_a_negative():
  # Embeddings 0 and 1 are equal and 2 is orthogonal to them: the logits are [[1, 1, 0], [1, 1, 0], [0, 0, 1]].
  embeddings = jnp.eye(3)[jnp.array([0, 0, 1])]
  twin, single = math.log(2 * math.e + 1) - 1, math.log(math.e + 2) - 1
  np.testing.assert_allclose(
    losses.itc_loss(embeddings, embeddings, temperature=1.0), (2 * twin + single) / 3, rtol=1e-6
  )


def test_itc_with_ids_excludes_other_pairs_of_the_same_identity_from_the_softmax():
  # As above, but each twin's logits are (1, 0), without the other twin; embedding 2 has both twins as negatives.
  embeddings = jnp.eye(3)[jnp.array([0, 0, 1])]
  value = losses.itc_loss(embeddings, embeddings, temperature=1.0, person_id=jnp.array([4, 4, 9]))
  twin, single = math.log(math.e + 1) - 1, math.log(math.e + 2) - 1
  np.testing.assert_allclose(value, (2 * twin + single) / 3, rtol=1e-6)


def test_itc_of_a_batch_of_one_person_has_value_and_gradient_0():
  image, text = jnp.eye(3), jnp.ones((3, 3)) - 0.5 * jnp.eye(3)
  one_person = functools.partial(losses.itc_loss, image, temperature=0.1, person_id=jnp.array([2, 2, 2]))
  value, gradient = jax.value_and_grad(one_person)(text)
  np.testing.assert_allclose(value, 0, atol=1e-6)
  np.testing.assert_allclose(gradient, jnp.zeros((3, 3)), atol=1e-6)


def test_itc_with_all_identities_different_is_itc_without_ids():
  image, text = operands("itc")
  value = losses.itc_loss(image, text, temperature=0.02, person_id=jnp.arange(12))
  np.testing.assert_array_equal(value, losses.itc_loss(image, text, temperature=0.02))


def test_identity_loss_of_uniform_logits_is_the_log_of_the_number_of_identities():
  np.testing.assert_allclose(losses.identity_loss(jnp.zeros((2, 8)), jnp.zeros((2, 8)), jnp.array([0, 7])), np.log(8))


def test_losses_on_several_devices_are_those_of_the_global_batch():
  code = f"""
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tireid_jax import losses
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
with np.load({str(TESTDATA / "losses.npz")!r}) as arrays:
  image, text, ids = (
    jax.device_put(arrays[f"repeated_ids/{{name}}"], NamedSharding(mesh, PartitionSpec("data")))
    for name in ("image", "text", "pids")
  )
values = jax.jit(lambda image, text, ids: (
  losses.sdm_loss(image, text, ids, temperature=0.02),
  losses.itc_loss(image, text, temperature=0.02),
  losses.cmpm_loss(image, text, ids),
))(image, text, ids)
print(*values)
"""
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
  done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
  expected = [GOLDEN[name]["float32"] for name in ("sdm", "itc", "cmpm")]
  np.testing.assert_allclose([float(value) for value in done.stdout.split()], expected, rtol=1e-5)
