import jax
import jax.numpy as jnp
import pytest

from tireid_jax.models import cudnn


@pytest.fixture
def as_on_gpu(monkeypatch):
  """Makes this process report a GPU as its backend; probes are still compiled for the CPU."""
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


def test_a_gpu_without_cudnn_fails_the_probe(as_on_gpu):
  assert "cuDNN" in cudnn.probe(64, 5, False, "bfloat16")


def test_without_a_gpu_nothing_is_compiled():
  assert cudnn.probe(64, 7, False, "bfloat16") == "this process computes on cpu"


def test_attention_that_runs_forward_and_backward_passes_the_probe(as_on_gpu):
  as_on_gpu.setattr(jax.nn, "dot_product_attention", stand_in(lambda query: query))
  assert cudnn.probe(64, 5, True, "bfloat16") == ""


def test_a_failing_backward_pass_fails_the_probe(as_on_gpu):
  @jax.custom_vjp
  def forward_only(query):
    return query

  def fail(*_):
    raise NotImplementedError("no backward\nkernel")

  forward_only.defvjp(lambda query: (query, None), fail)
  as_on_gpu.setattr(jax.nn, "dot_product_attention", stand_in(forward_only))
  assert cudnn.probe(64, 5, True, "bfloat16") == "NotImplementedError: no backward"


def test_non_finite_values_fail_the_probe(as_on_gpu):
  as_on_gpu.setattr(jax.nn, "dot_product_attention", stand_in(lambda query: query / jnp.zeros_like(query)))
  assert "not finite" in cudnn.probe(64, 5, True, "bfloat16")


def test_the_result_of_a_probe_is_cached(as_on_gpu):
  calls = []
  as_on_gpu.setattr(jax.nn, "dot_product_attention", stand_in(lambda query: calls.append(1) or query))
  assert [cudnn.probe(64, 5, True, "bfloat16") for _ in range(2)] == ["", ""]
  assert len(calls) == 1
