"""Softmax attention with a backward pass of its own: one form for float32, one for narrower types."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

# By this name a rematerialisation policy can keep what the float32 form has found.
NAME = "attention"


def attend(query, key, value, is_causal):
  """Returns softmax(query key^T / sqrt(K)) value: f[B, L, H, K], as `jax.nn.dot_product_attention` but for rounding.

  Args:
    query, key, value: f[B, L, H, K], of one type.
    is_causal: whether a place sees no later one.
  """
  return (_wide if value.dtype == jnp.float32 else _narrow)(query, key, value, is_causal)


def attend_from(query, key, value, place):
  """Returns f[B, 1, H, K]: as `attend`, for a single place of each row.

  Args:
    query: f[B, 1, H, K].
    key, value: f[B, L, H, K].
    place: i32[B], where the query stands, which sees no later one; None where it sees all.
  """
  mask = None if place is None else (jnp.arange(key.shape[1]) <= place[:, None])[:, None, None]  # [B, 1, 1, L]
  return jax.nn.dot_product_attention(query, key, value, mask=mask)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _wide(query, key, value, is_causal):
  """As `attend`, in float32; keeps nothing of the size of the scores.

  Heads stand before places, and powers are divided by their sum after the product with `value`: XLA on CPU then makes
  one kernel of scores, powers and product, which takes less than half the time.
  """
  return _wide_forward(query, key, value, is_causal)[0]


def _wide_forward(query, key, value, is_causal):
  query, key, value = _swapped(query * query.shape[-1] ** -0.5), _swapped(key), _swapped(value)  # [B, H, L, K] each
  scores = _masked(jnp.einsum("BHLK,BHMK->BHLM", query, key), is_causal)
  largest = scores.max(-1, keepdims=True)
  powers = jnp.exp(scores - largest)
  total = powers.sum(-1, keepdims=True)
  mixed = jnp.einsum("BHLM,BHMK->BHLK", powers, value) / total
  largest, total, mixed = (checkpoint_name(x, NAME) for x in (largest, total, mixed))
  return _swapped(mixed), (query, key, value, largest, total, mixed)


def _wide_backward(is_causal, kept, d_mixed):
  query, key, value, largest, total, mixed = kept
  d_mixed = _swapped(d_mixed) / total
  powers = jnp.exp(_masked(jnp.einsum("BHLK,BHMK->BHLM", query, key), is_causal) - largest)
  d_value = jnp.einsum("BHLM,BHLK->BHMK", powers, d_mixed)
  d_powers = jnp.einsum("BHLK,BHMK->BHLM", d_mixed, value)
  d_scores = powers * (d_powers - (d_mixed * mixed).sum(-1, keepdims=True))
  d_query = jnp.einsum("BHLM,BHMK->BHLK", d_scores, key) * query.shape[-1] ** -0.5
  d_key = jnp.einsum("BHLM,BHLK->BHMK", d_scores, query)
  return _swapped(d_query), _swapped(d_key), _swapped(d_value)


_wide.defvjp(_wide_forward, _wide_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _narrow(query, key, value, is_causal):
  """As `attend`, in bfloat16 or float16; scores and softmax are float32, the powers have the type of `value`.

  On a TPU each operation on all of [B, H, L, L] takes as long as a tenth of a product. With what is to be kept fenced
  off, the compiler makes one kernel of scores, powers and their sum, and no scores reach memory; powers are divided by
  their sum after the product with `value`. Heads of a size that is a power of 4 lose nothing by being scaled before
  theirs.
  """
  return _narrow_forward(query, key, value, is_causal)[0]


def _narrow_forward(query, key, value, is_causal):
  query = query * query.shape[-1] ** -0.5
  scores = _masked(_product("BLHK,BMHK->BHLM", query, key), is_causal)
  powers = jnp.exp(scores - scores.max(-1, keepdims=True))
  powers, total = jax.lax.optimization_barrier((powers.astype(value.dtype), powers.sum(-1)))  # [B, H, L, M], [B, H, L]
  total = total.swapaxes(1, 2)[..., None]  # [B, L, H, 1]
  mixed = _product("BHLM,BMHK->BLHK", powers, value) / total
  mixed = jax.lax.optimization_barrier(mixed.astype(value.dtype))
  return mixed, (query, key, value, powers, total, mixed)


def _narrow_backward(is_causal, kept, d_mixed):
  query, key, value, powers, total, mixed = kept  # where causality has put zeros, the gradient has them by itself
  d_mixed = (d_mixed / total).astype(value.dtype)
  # The mean of the gradient by the probabilities, without the gradient.
  mean = _product("BLHK,BLHK->BHL", mixed, d_mixed)[..., None]
  d_value = _product("BHLM,BLHK->BMHK", powers, d_mixed)
  d_powers = _product("BLHK,BMHK->BHLM", d_mixed, value)
  d_scores = (powers * (d_powers - mean)).astype(value.dtype)
  d_query = _product("BHLM,BMHK->BLHK", d_scores, key) * query.shape[-1] ** -0.5
  d_key = _product("BHLM,BLHK->BMHK", d_scores, query)
  return tuple(x.astype(value.dtype) for x in (d_query, d_key, d_value))


_narrow.defvjp(_narrow_forward, _narrow_backward)


def _masked(scores, is_causal):
  return jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf) if is_causal else scores


def _product(places, a, b):
  return jnp.einsum(places, a, b, preferred_element_type=jnp.float32)


def _swapped(x):
  """Returns f[B, H, L, K] of f[B, L, H, K], and the reverse."""
  return x.swapaxes(1, 2)
