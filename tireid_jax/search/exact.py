"""Exact search: the cosine similarity of every query and every vector, and its k largest, on the devices of a mesh."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int

# Vectors in a block. The similarities of a block, [N, BLOCK_ROWS], are all that is ever in memory.
BLOCK_ROWS = 2**16
# What does not fill a block is divided into blocks of a _SMALL-th of it; only what fills none of those is copied.
_SMALL = 8
# Queries are padded to the next of these. XLA's product with a single row is ten times slower than with two.
QUERY_SIZES = (2, 16, 64, 256)
# Columns whose maximum is taken before the largest are selected. The k largest values of a row are in the k groups of
# the largest maxima, and a maximum costs a tenth of a selection.
_GROUP = 64
_AXIS = "gallery"


class Exact:
  """Vectors on the devices, in blocks. On a CPU, they are the memory-mapped files themselves, without a copy."""

  def __init__(self, parts: Sequence[np.ndarray], embedding_size: int, dtype: np.dtype, mesh: Mesh) -> None:
    """Places the vectors [n, E] of each part; only what does not fill a small block is copied."""
    # Blocks are a power of two, so the number of devices that share one must be, too.
    devices = mesh.devices.ravel()[: 2 ** (mesh.devices.size.bit_length() - 1)]
    self._mesh = Mesh(devices, (_AXIS,), axis_types=(AxisType.Auto,))
    self._dtype = dtype
    blocks, slots, rest, rest_slots, start = [], [], [], [], 0
    for part in parts:
      full = 0
      for size in (BLOCK_ROWS, BLOCK_ROWS // _SMALL):
        begin, full = full, full + (len(part) - full) // size * size
        blocks += [part[row : row + size] for row in range(begin, full, size)]
      slots.append(np.arange(start, start + full))
      rest.append(part[full:])
      rest_slots.append(np.arange(start + full, start + len(part)))
      start += len(part)
    self._num_rows = start
    others = np.concatenate([np.empty((0, embedding_size), dtype), *rest])
    slots += rest_slots
    if len(others):
      size = min(BLOCK_ROWS, max(128, len(devices), 2 ** (len(others) - 1).bit_length()))
      padding = -len(others) % size
      others = np.concatenate([others, np.zeros((padding, embedding_size), dtype)])
      blocks += [others[begin : begin + size] for begin in range(0, len(others), size)]
      slots.append(np.full(padding, -1))
    self._rows = np.concatenate([np.empty(0, np.int64), *slots])  # row of each slot of the blocks, -1 for padding
    sharded = NamedSharding(self._mesh, PartitionSpec(_AXIS))
    self._blocks = [jax.device_put(block, sharded, may_alias=True) for block in blocks]
    self._last_masks: tuple = (self, [])  # candidates, their masks

  def search(
    self, queries: Float[np.ndarray, "N E"], k: int, is_candidate: Bool[np.ndarray, " G"] | None = None
  ) -> tuple[Float[np.ndarray, "N k"], Int[np.ndarray, "N k"]]:
    """Returns (similarities, rows) of the k most similar vectors of each query, best first.

    Fewer than k are returned if there are fewer candidates. Queries and vectors have norm 1.

    Args:
      queries: of norm 1.
      k: number of results, at least 1.
      is_candidate: the rows that may be returned, not changed afterwards; None for all.
    """
    num_candidates = self._num_rows if is_candidate is None else int(is_candidate.sum())
    k = min(k, num_candidates)
    if not k or not len(queries):
      return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    masks = self._masks(is_candidate)
    found = [
      self._search(queries[start : start + QUERY_SIZES[-1]], k, masks)
      for start in range(0, len(queries), QUERY_SIZES[-1])
    ]
    scores, slots = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return scores, self._rows[slots]

  def _masks(self, is_candidate):
    """Returns bool[size of the block] of each block, which slots may be returned; kept for a repeated argument."""
    if self._last_masks[0] is is_candidate:
      return self._last_masks[1]
    usable = self._rows >= 0
    if is_candidate is not None:
      usable &= is_candidate[self._rows]
    sharded = NamedSharding(self._mesh, PartitionSpec(_AXIS))
    ends = np.cumsum([len(block) for block in self._blocks])
    masks = [jax.device_put(mask, sharded) for mask in np.split(usable, ends[:-1])]
    self._last_masks = (is_candidate, masks)
    return masks

  def _search(self, queries, k, masks):
    size = next(size for size in QUERY_SIZES if size >= len(queries))
    padded = np.zeros((size, queries.shape[1]), self._dtype)
    padded[: len(queries)] = queries
    batch = jax.device_put(padded, NamedSharding(self._mesh, PartitionSpec()))
    best = jnp.full((size, k), -jnp.inf), jnp.zeros((size, k), jnp.int32)
    start = 0
    for block, mask in zip(self._blocks, masks, strict=True):
      best = _step(self._mesh, k)(batch, block, mask, np.int32(start), *best)
      start += len(block)
    scores, slots = (np.asarray(values)[: len(queries)] for values in best)
    return scores, slots


@functools.cache
def _step(mesh, k):
  """Returns a compiled function that merges the k best of a block into the k best so far."""

  def local(queries, block, mask):
    similarity = jax.lax.dot_general(
      queries, block, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )  # [N, rows of this device]
    values, columns = top_k(jnp.where(mask, similarity, -jnp.inf), k)
    return values, columns + jax.lax.axis_index(_AXIS) * len(block)

  rows, columns = PartitionSpec(_AXIS), PartitionSpec(None, _AXIS)
  each = jax.shard_map(local, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=(columns, columns))

  def step(queries, block, mask, start, best_values, best_slots):
    values, slots = each(queries, block, mask)
    values = jnp.concatenate([best_values, values], axis=1)
    slots = jnp.concatenate([best_slots, slots + start], axis=1)
    values, order = jax.lax.top_k(values, k)  # of equal values, the first
    return values, jnp.take_along_axis(slots, order, axis=1)

  return jax.jit(step, out_shardings=NamedSharding(mesh, PartitionSpec()))


def top_k(similarity: Float[jax.Array, "N G"], k: int) -> tuple[jax.Array, jax.Array]:
  """Returns (values, columns) of the k largest of each row, of equal ones those of the lowest columns; all if G < k."""
  num, size = similarity.shape
  if size % _GROUP or size // _GROUP <= k:
    return jax.lax.top_k(similarity, min(k, size))
  grouped = similarity.reshape(num, -1, _GROUP)
  _, groups = jax.lax.top_k(grouped.max(axis=2), k)
  groups = jnp.sort(groups, axis=1)  # so that of equal values the lowest column stays first
  values = jnp.take_along_axis(grouped, groups[:, :, None], axis=1)  # [N, k, GROUP]
  columns = groups[:, :, None] * _GROUP + jnp.arange(_GROUP)
  values, order = jax.lax.top_k(values.reshape(num, -1), k)
  return values, jnp.take_along_axis(columns.reshape(num, -1), order, axis=1)
