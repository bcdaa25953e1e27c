"""Makes the archives of this folder with torch, and beside each what it holds, as .npz.

From the repository's root: .venv-parity/bin/python -m tests.testdata.archives.make
"""

import argparse
import collections
import io
import pathlib
import zipfile

import numpy as np
import torch
from torch import nn

from tests.models.weights.archives import named

FOLDER = pathlib.Path(__file__).parent


def checkpoint(seed):
  """Returns what a trainer saves, with a tensor of every kind that a file may hold."""
  torch.manual_seed(seed)
  model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
  scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 3, 9])
  model(torch.randn(4, 3)).square().sum().backward()
  optimizer.step()
  scheduler.step()
  base = torch.randn(3, 4)
  marked, marked_parameter = torch.randn(2), nn.Parameter(torch.randn(2))
  marked.kind = marked_parameter.kind = "with an attribute"
  return {
    "model": model.state_dict(),
    "optimizer": optimizer.state_dict(),
    "scheduler": scheduler.state_dict(),
    "epoch": 7,
    "best": np.float64(0.5),
    "scores": np.arange(3),
    "history": collections.defaultdict(list, {"loss": [2.5]}),
    "recent": collections.deque([1.5, 2.5]),
    "seen": {1, 2},
    "args": argparse.Namespace(lr=1e-3, output=pathlib.PurePosixPath("out"), device=torch.device("cpu")),
    "views": {
      "base": base, "row": base[1], "column": base[:, 2], "transposed": base.t(), "repeated": base[0, :1].expand(3, 2),
    },
    "kinds": {
      "float16": torch.randn(3).half(), "bfloat16": torch.randn(5).bfloat16(), "float64": torch.randn(2).double(),
      "int64": torch.tensor([-(2**62), 0, 5]), "int8": torch.tensor([-7, 7], dtype=torch.int8),
      "uint16": torch.tensor([65_535, 3], dtype=torch.uint16), "bool": torch.tensor([True, False]),
    },
    "layers": [nn.Parameter(torch.randn(2, 2)), torch.tensor(2.5), torch.zeros(0, 3), marked, marked_parameter],
  }  # fmt: skip


class Block(nn.Module):
  """A convolution, a buffer and attributes that are no weights."""

  def __init__(self):
    super().__init__()
    self.conv = nn.Conv2d(3, 2, 2, bias=False)
    self.register_buffer("ids", torch.arange(3))
    self.sizes = [1, 2]
    self.by_name = {"a": 1}

  def forward(self, images):
    return self.conv(images).sum(dim=(2, 3)) + self.ids.sum() + self.sizes[0] + self.by_name["a"]


class Model(nn.Module):
  """Modules within modules and a parameter beside them, in float16, as OpenAI's files are."""

  def __init__(self, seed):
    super().__init__()
    torch.manual_seed(seed)
    self.visual = nn.Sequential(Block(), nn.Linear(2, 2), nn.ReLU())
    self.projection = nn.Parameter(torch.randn(4, 2).t())
    self.half().eval()

  def forward(self, images):
    return self.visual(images) @ self.projection


IMAGES = torch.ones(1, 3, 4, 4, dtype=torch.float16)


def _drop_source_names(path):
  """Rewrites an archive without the `.debug_pkl` entries, which hold the paths of this machine."""
  with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
    for entry in old.infolist():
      if not entry.filename.endswith(".debug_pkl"):
        new.writestr(entry, old.read(entry))


def _write_values(name, tensors):
  # NumPy's format has no bfloat16; float32 holds it exactly.
  np.savez(
    FOLDER / f"{name}.npz",
    **{key: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for key, t in tensors.items()},
  )


if __name__ == "__main__":
  saved = checkpoint(0)
  torch.save(saved, FOLDER / "checkpoint.pt")
  _write_values("checkpoint", named(saved, torch.Tensor))
  for name, script in (
    ("traced", torch.jit.trace(Model(1), IMAGES)), ("scripted", torch.jit.script(Model(2))),
  ):  # fmt: skip
    script.save(FOLDER / f"{name}.pt")
    _drop_source_names(FOLDER / f"{name}.pt")
    _write_values(name, script.state_dict())
