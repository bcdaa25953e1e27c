"""Position tables of image patches, moved to another grid."""

import jax
import jax.numpy as jnp
import numpy as np

# Method by name: (jax.image.resize's, whether it smooths before it samples less).
METHODS = {
  "bilinear": ("bilinear", False),  # IRRA's
  "bicubic": ("bicubic", True),  # open_clip's
}


def resize_positions(table, grid, new_grid, method="bilinear"):
  """Returns f32[1 + rows * columns, D]: a position table moved to another grid of patches.

  The class row is kept; the others are resized with half-pixel centres.

  Args:
    table: f32[1 + rows * columns, D].
    grid: (rows, columns) of `table`.
    new_grid: (rows, columns) wanted.
    method: of METHODS.
  """
  if table.shape[0] != 1 + grid[0] * grid[1]:
    raise ValueError(
      f"a position table of {table.shape[0]} rows does not fit a grid of {grid[0]}x{grid[1]} and a class"
    )
  if tuple(grid) == tuple(new_grid):
    return table
  patches = table[1:].reshape(*grid, -1)
  name, antialias = METHODS[method]
  patches = jax.image.resize(jnp.asarray(patches), (*new_grid, patches.shape[-1]), name, antialias=antialias)
  return np.concatenate([table[:1], np.asarray(patches).reshape(-1, table.shape[1])])
