import jax
import jax.numpy as jnp
import pytest

from tireid_jax.models import cudnn


@pytest.fixture
def on_a_gpu(monkeypatch):
  """Lets this process pass for one that computes on a GPU; what is probed then is compiled for the CPU."""
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  cudnn.probe.cache_clear()
  yield monkeypatch
  cudnn.probe.cache_clear()


def stand_in(function):
  """Returns a `jax.nn.dot_product_attention` that computes function(query)."""

  def attention(query, key, value, *, is_causal, implementation):
    assert implementation == "cudnn"
    return function(query)

  return attention


def test_a_gpu_without_cudnn_as_amds_fails_the_probe(on_a_gpu):
  assert "cuDNN" in cudnn.probe(64, 5, False, "bfloat16")


def test_without_a_gpu_nothing_is_tried():
  assert cudnn.probe(64, 7, False, "bfloat16") == "this process computes on cpu"


def test_what_runs_with_its_gradient_passes(on_a_gpu):
  on_a_gpu.setattr(jax.nn, "dot_product_attention", stand_in(lambda query: query))
  assert cudnn.probe(64, 5, True, "bfloat16") == ""


def test_a_gradient_that_fails_is_noticed(on_a_gpu):
  @jax.custom_vjp
  def forward_alone(query):
    return query

  def fail(*_):
    raise NotImplementedError("no backward\nkernel")

  forward_alone.defvjp(lambda query: (query, None), fail)
  on_a_gpu.setattr(jax.nn, "dot_product_attention", stand_in(forward_alone))
  assert cudnn.probe(64, 5, True, "bfloat16") == "NotImplementedError: no backward"


def test_values_that_are_not_finite_are_noticed(on_a_gpu):
  on_a_gpu.setattr(jax.nn, "dot_product_attention", stand_in(lambda query: query / jnp.zeros_like(query)))
  assert "not finite" in cudnn.probe(64, 5, True, "bfloat16")


def test_it_is_compiled_once(on_a_gpu):
  calls = []
  on_a_gpu.setattr(jax.nn, "dot_product_attention", stand_in(lambda query: calls.append(1) or query))
  assert [cudnn.probe(64, 5, True, "bfloat16") for _ in range(2)] == ["", ""]
  assert len(calls) == 1
