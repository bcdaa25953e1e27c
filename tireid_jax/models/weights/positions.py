"""Resizes the position embeddings of image patches to another grid."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

# Name: (method of jax.image.resize, whether it antialiases).
METHODS = {
  "bilinear": ("bilinear", False),  # as in IRRA
  "bicubic": ("bicubic", True),  # as in open_clip
}


def resize_positions(
  table: Float[np.ndarray, "1+patches D"], grid: tuple[int, int], new_grid: tuple[int, int], method: str = "bilinear"
) -> Float[np.ndarray, "1+new_patches D"]:
  """Returns the position embeddings interpolated to another grid of patches, with half-pixel centres.

  The position embedding of the class token is unchanged.

  Args:
    table: position embeddings of the class token and of the patches, row by row.
    grid: (rows, columns) of patches in `table`.
    new_grid: (rows, columns) of patches in the result.
    method: one of METHODS.

  Raises:
    ValueError: if the length of `table` does not match `grid`.
  """
  if table.shape[0] != 1 + grid[0] * grid[1]:
    raise ValueError(
      f"{table.shape[0]} position embeddings do not match a class token and a grid of {grid[0]}x{grid[1]} patches"
    )
  if tuple(grid) == tuple(new_grid):
    return table
  patches = table[1:].reshape(*grid, -1)
  name, antialias = METHODS[method]
  patches = jax.image.resize(jnp.asarray(patches), (*new_grid, patches.shape[-1]), name, antialias=antialias)
  return np.concatenate([table[:1], np.asarray(patches).reshape(-1, table.shape[1])])
