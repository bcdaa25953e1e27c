"""Exact checksums of arrays, equal on any mesh, computed where the arrays are: nothing is gathered."""

import functools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from tireid_jax.parallel import sharding
from tireid_jax.training.stages import FROZEN, path_string

# Shifts and odd factors of MurmurHash3's 32-bit finalizer.
_MIX = ((16, np.uint32(0x85EBCA6B)), (13, np.uint32(0xC2B2AE35)))
# 2**32 over the golden ratio, which spreads consecutive indices.
_GOLDEN = np.uint32(0x9E3779B9)


def of_tree(mesh, tree):
  """Returns the checksum of a tree of arrays, 16 hexadecimal digits; their paths and shapes are part of it.

  Args:
    mesh: that the arrays are on.
    tree: of arrays of at most 32 bits an element.
  """
  return _of_groups(mesh, tree, lambda path: "all").get("all", "0" * 16)


def of_frozen(mesh, variables, labels):
  """Returns {group: checksum} of the leaves that a stage does not train.

  A group is the first two parts of its leaves' paths, as "params/image_encoder".

  Args:
    mesh: that the variables are on.
    variables: {"params": ..., "prompts": ...}.
    labels: from `Stage.labels`.
  """
  frozen = {path_string(path) for path, label in jax.tree_util.tree_leaves_with_path(labels) if label == FROZEN}
  return _of_groups(mesh, variables, lambda path: "/".join(path.split("/")[:2]) if path in frozen else None)


def _of_groups(mesh, tree, group_of):
  """Returns {group: checksum} of a tree's leaves, grouped by `group_of(path)`; leaves of group None are skipped."""
  columns: dict[str, dict] = {}
  for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
    path = path_string(key)
    if group := group_of(path):
      factors = 2 * _mixed(np.arange(math.prod(leaf.shape[:-1]), dtype=np.uint32)) + np.uint32(1)
      # The path and shape distinguish arrays with equal bits.
      name = f"{path} {leaf.shape} {leaf.dtype}"
      columns.setdefault(group, {})[name] = _compiled(mesh)(leaf, factors.reshape(leaf.shape[:-1]))
  found = jax.device_get(columns)
  return {group: _combine(found[group]) for group in sorted(found)}


@functools.cache
def _compiled(mesh):
  # Leaf by leaf, since many of them have one shape and so one program.
  return jax.jit(_columns, out_shardings=sharding.replicated(mesh))


def _columns(array, factors):
  """Returns u32[D]: of each column of an array [..., D], the sum modulo 2**32 of its mixed bits.

  Sums of integers are the same in any order, so the result does not depend on how the array is split.

  Args:
    array: of at most 32 bits an element.
    factors: u32[...] odd, one per index of the leading axes, so that no bit is lost.
  """
  bits = jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{8 * array.dtype.itemsize}")).astype(jnp.uint32)
  # The shift brings the sign to where a factor spreads it.
  mixed = jnp.atleast_1d((bits ^ (bits >> 15)) * factors[..., None] if bits.ndim else bits)
  return jnp.sum(mixed, tuple(range(mixed.ndim - 1)), dtype=jnp.uint32)


def _combine(columns):
  """Returns 16 hexadecimal digits of {name: u32[D]}."""
  total = np.zeros(2, np.uint32)
  for name, values in columns.items():
    index = np.arange(len(values), dtype=np.uint32)
    first = _mixed(values ^ (index * _GOLDEN + np.uint32(zlib.crc32(name.encode()))))
    total += np.array([np.sum(part, dtype=np.uint32) for part in (first, _mixed(first + index))])
  return "".join(f"{part:08x}" for part in total)


def _mixed(value):
  for shift, factor in _MIX:
    value = (value ^ (value >> np.uint32(shift))) * factor
  return value ^ (value >> np.uint32(16))
