"""Makes bicubic.npz: position tables moved to other grids by torch, as open_clip moves them.

From the repository's root: .venv-parity/bin/python -m tests.testdata.positions.make
"""

import pathlib

import numpy as np
import torch
from torch.nn import functional

# (rows, columns) before and after: larger, smaller, and each side another way.
GRIDS = [((7, 7), (12, 4)), ((4, 4), (9, 9)), ((9, 9), (4, 4)), ((10, 3), (3, 7)), ((5, 5), (24, 2))]


def resize(table, grid, new_grid, mode="bicubic", antialias=True):
  """Returns f32[1 + rows * columns, D]: open_clip's `resize_pos_embed` for any grids."""
  patches = torch.from_numpy(table[1:]).reshape(1, *grid, -1).permute(0, 3, 1, 2)
  patches = functional.interpolate(patches, size=new_grid, mode=mode, antialias=antialias, align_corners=False)
  return np.concatenate([table[:1], patches.permute(0, 2, 3, 1).reshape(-1, table.shape[1]).numpy()])


def draw(grid, width, seed=0):
  """Returns a random table f32[1 + rows * columns, D]."""
  return np.random.default_rng(seed).standard_normal((1 + grid[0] * grid[1], width)).astype(np.float32)


if __name__ == "__main__":
  arrays = {}
  for grid, new_grid in GRIDS:
    name = f"{grid[0]}x{grid[1]}_{new_grid[0]}x{new_grid[1]}"
    arrays[f"{name}_before"] = draw(grid, 3)
    arrays[f"{name}_after"] = resize(arrays[f"{name}_before"], grid, new_grid)
  np.savez(pathlib.Path(__file__).parent / "bicubic.npz", **arrays)
