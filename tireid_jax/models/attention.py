"""Softmax attention in bfloat16, whose backward pass is written out for TPUs."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(query, key, value, is_causal):
  """Returns softmax(query key^T / sqrt(K)) value: f[B, L, H, K], as `jax.nn.dot_product_attention` but for rounding.

  Scores and softmax are float32; the probabilities, which the backward pass keeps, have the type of `value`. Each
  operation on all of [B, H, L, L] takes as long as a tenth of a product, so there are few: heads of a size that is a
  power of 4 lose nothing by being scaled before their product.

  Args:
    query, key, value: f[B, L, H, K].
    is_causal: whether a place sees no later one.
  """
  return _forward(query, key, value, is_causal)[0]


def _forward(query, key, value, is_causal):
  query = query * query.shape[-1] ** -0.5
  scores = _product("BLHK,BMHK->BHLM", query, key)
  if is_causal:
    scores = jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf)
  powers = jnp.exp(scores - scores.max(-1, keepdims=True))
  probabilities = (powers * (1 / powers.sum(-1, keepdims=True))).astype(value.dtype)  # [B, H, L, M]
  mixed = _product("BHLM,BMHK->BLHK", probabilities, value).astype(value.dtype)
  return mixed, (query, key, value, probabilities, mixed)


def _backward(is_causal, kept, d_mixed):
  query, key, value, probabilities, mixed = kept  # where causality has put zeros, the gradient has them by itself
  # The mean of the gradient by the probabilities, without the gradient.
  mean = _product("BLHK,BLHK->BHL", mixed, d_mixed)[..., None]
  d_value = _product("BHLM,BLHK->BMHK", probabilities, d_mixed)
  d_probabilities = _product("BLHK,BMHK->BHLM", d_mixed, value)
  d_scores = (probabilities * (d_probabilities - mean)).astype(value.dtype)
  d_query = _product("BHLM,BMHK->BLHK", d_scores, key) * query.shape[-1] ** -0.5
  d_key = _product("BHLM,BLHK->BMHK", d_scores, query)
  return tuple(x.astype(value.dtype) for x in (d_query, d_key, d_value))


attend.defvjp(_forward, _backward)


def _product(places, a, b):
  return jnp.einsum(places, a, b, preferred_element_type=jnp.float32)
