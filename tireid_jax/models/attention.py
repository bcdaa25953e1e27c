"""Softmax attention with hand-written backward passes: one for float32, one for half precision."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

# By this name a rematerialisation policy can save the residuals of the float32 form.
NAME = "attention"


def attend(
  query: Float[Array, "B L H K"], key: Float[Array, "B L H K"], value: Float[Array, "B L H K"], is_causal: bool
) -> Float[Array, "B L H K"]:
  """Returns softmax(query key^T / sqrt(K)) value, as `jax.nn.dot_product_attention` does up to rounding.

  Args:
    query, key, value: of one dtype.
    is_causal: whether to apply a causal mask.
  """
  return (_float32 if value.dtype == jnp.float32 else _half_precision)(query, key, value, is_causal)


def attend_from(
  query: Float[Array, "B 1 H K"],
  key: Float[Array, "B L H K"],
  value: Float[Array, "B L H K"],
  position: Int[Array, " B"] | None,
) -> Float[Array, "B 1 H K"]:
  """Returns the attention of a single query per sequence.

  Args:
    query, key, value: of one dtype.
    position: of the query, for a causal mask; None for no mask.
  """
  mask = None if position is None else (jnp.arange(key.shape[1]) <= position[:, None])[:, None, None]  # [B, 1, 1, L]
  return jax.nn.dot_product_attention(query, key, value, mask=mask)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _float32(query, key, value, is_causal):
  """As `attend`, in float32; saves no residual of the size of the scores.

  The head axis precedes the sequence axis, and exponentials are divided by their sum after the product with `value`:
  XLA on CPU then fuses scores, exponentials and product into one kernel, which takes less than half the time.
  """
  return _float32_forward(query, key, value, is_causal)[0]


def _float32_forward(query, key, value, is_causal):
  query, key, value = _swapped(query * query.shape[-1] ** -0.5), _swapped(key), _swapped(value)  # [B, H, L, K] each
  scores = _masked(jnp.einsum("BHLK,BHMK->BHLM", query, key), is_causal)
  largest = scores.max(-1, keepdims=True)
  exponentials = jnp.exp(scores - largest)
  total = exponentials.sum(-1, keepdims=True)
  mixed = jnp.einsum("BHLM,BHMK->BHLK", exponentials, value) / total
  largest, total, mixed = (checkpoint_name(x, NAME) for x in (largest, total, mixed))
  return _swapped(mixed), (query, key, value, largest, total, mixed)


def _float32_backward(is_causal, residuals, d_mixed):
  query, key, value, largest, total, mixed = residuals
  d_mixed = _swapped(d_mixed) / total
  exponentials = jnp.exp(_masked(jnp.einsum("BHLK,BHMK->BHLM", query, key), is_causal) - largest)
  d_value = jnp.einsum("BHLM,BHLK->BHMK", exponentials, d_mixed)
  d_exponentials = jnp.einsum("BHLK,BHMK->BHLM", d_mixed, value)
  d_scores = exponentials * (d_exponentials - (d_mixed * mixed).sum(-1, keepdims=True))
  d_query = jnp.einsum("BHLM,BHMK->BHLK", d_scores, key) * query.shape[-1] ** -0.5
  d_key = jnp.einsum("BHLM,BHLK->BHMK", d_scores, query)
  return _swapped(d_query), _swapped(d_key), _swapped(d_value)


_float32.defvjp(_float32_forward, _float32_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _half_precision(query, key, value, is_causal):
  """As `attend`, in bfloat16 or float16; scores and softmax are float32, exponentials have the dtype of `value`.

  On a TPU each operation on all of [B, H, L, L] takes a tenth of the time of a matrix product. An optimization barrier
  around the residuals makes the compiler fuse scores, exponentials and their sum into one kernel, so that no scores
  are written to memory; exponentials are divided by their sum after the product with `value`. Scaling the query before
  the product is exact where the head size is a power of 4.
  """
  return _half_precision_forward(query, key, value, is_causal)[0]


def _half_precision_forward(query, key, value, is_causal):
  query = query * query.shape[-1] ** -0.5
  scores = _masked(_product("BLHK,BMHK->BHLM", query, key), is_causal)
  exponentials = jnp.exp(scores - scores.max(-1, keepdims=True))
  exponentials, total = jax.lax.optimization_barrier(
    (exponentials.astype(value.dtype), exponentials.sum(-1))
  )  # [B, H, L, M], [B, H, L]
  total = total.swapaxes(1, 2)[..., None]  # [B, L, H, 1]
  mixed = _product("BHLM,BMHK->BLHK", exponentials, value) / total
  mixed = jax.lax.optimization_barrier(mixed.astype(value.dtype))
  return mixed, (query, key, value, exponentials, total, mixed)


def _half_precision_backward(is_causal, residuals, d_mixed):
  # No mask: where it is causal, the exponentials are zero, and so is the gradient of the scores.
  query, key, value, exponentials, total, mixed = residuals
  d_mixed = (d_mixed / total).astype(value.dtype)
  # The mean of d_exponentials weighted by the probabilities, computed without d_exponentials.
  mean = _product("BLHK,BLHK->BHL", mixed, d_mixed)[..., None]
  d_value = _product("BHLM,BLHK->BMHK", exponentials, d_mixed)
  d_exponentials = _product("BLHK,BMHK->BHLM", d_mixed, value)
  d_scores = (exponentials * (d_exponentials - mean)).astype(value.dtype)
  d_query = _product("BHLM,BMHK->BLHK", d_scores, key) * query.shape[-1] ** -0.5
  d_key = _product("BHLM,BLHK->BMHK", d_scores, query)
  return tuple(x.astype(value.dtype) for x in (d_query, d_key, d_value))


_half_precision.defvjp(_half_precision_forward, _half_precision_backward)


def _masked(scores, is_causal):
  return jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf) if is_causal else scores


def _product(subscripts, a, b):
  return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _swapped(x):
  """Swaps the sequence and the head axis."""
  return x.swapaxes(1, 2)
