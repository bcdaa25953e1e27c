"""Archives written by the installed torch, and read by torch and by this package."""

import io

import pytest
import torch
from torch import nn

from tests.models.weights.archives import named
from tests.testdata.archives.make import IMAGES, Model, checkpoint
from tireid_jax.models.weights import archive
from tireid_jax.models.weights.tensor import Tensor


def compare(content, expected):
  """Checks that names, shapes, dtypes and bytes of the tensors are equal; `expected` is {name: torch.Tensor}."""
  found = named(content, Tensor)
  assert list(found) == list(expected)
  for name, saved in expected.items():
    values = found[name].read()
    assert found[name].shape == values.shape == tuple(saved.shape), name
    assert f"torch.{values.dtype}" == str(saved.dtype), name
    assert values.tobytes() == saved.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(), name


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_checkpoint_equals_what_torch_loads(tmp_path, protocol, seed):
  path = tmp_path / "last.checkpoint"
  torch.save(checkpoint(seed), path, pickle_protocol=protocol)
  content, is_torchscript = archive.read(path)
  assert archive.is_archive(path)
  assert not is_torchscript
  compare(content, named(torch.load(path, weights_only=False), torch.Tensor))


def test_a_checkpoint_written_to_a_buffer_equals_what_torch_loads(tmp_path):
  buffer = io.BytesIO()
  torch.save(checkpoint(2), buffer)
  (tmp_path / "a.pt").write_bytes(buffer.getvalue())
  compare(archive.read(tmp_path / "a.pt")[0], named(checkpoint(2), torch.Tensor))


@pytest.mark.parametrize(
  "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int16, torch.int64]
)
@pytest.mark.parametrize("seed", range(5))
def test_views_equal_what_torch_loads(tmp_path, dtype, seed):
  torch.manual_seed(seed)
  base = (100 * torch.randn(3, 4, 5, 6)).to(dtype)
  views = []
  for _ in range(20):
    view = base.permute(*torch.randperm(4).tolist())
    for dimension, size in enumerate(view.shape):
      first, last = sorted(torch.randint(size + 1, (2,)).tolist())
      view = view.narrow(dimension, first, last - first)[:: int(torch.randint(1, 3, ()))]
    views += [view, view.unsqueeze(1).expand(-1, 2, -1, -1, -1)]
  torch.save(views, tmp_path / "a.pt")
  compare(archive.read(tmp_path / "a.pt")[0], named(torch.load(tmp_path / "a.pt"), torch.Tensor))


@pytest.mark.parametrize(
  "make", [lambda model: torch.jit.trace(model, IMAGES), torch.jit.script], ids=["trace", "script"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_torchscript_archive_equals_its_state_dict(tmp_path, make, seed):
  path = tmp_path / "ViT-B-32.pt"
  make(Model(seed)).save(path)
  content, is_torchscript = archive.read(path)
  assert is_torchscript
  assert content["training"] is False
  state = torch.jit.load(path).state_dict()
  compare(dict(sorted(named(content, Tensor).items())), dict(sorted(state.items())))


class _WithMask(nn.Module):
  def __init__(self):
    super().__init__()
    self.mask = torch.eye(3)
    self.linear = nn.Linear(3, 3)

  def forward(self, values):
    return self.linear(values) @ self.mask


def test_a_tensor_that_is_a_plain_attribute_is_also_read(tmp_path):
  torch.jit.script(_WithMask()).save(tmp_path / "a.pt")
  state = torch.jit.load(tmp_path / "a.pt").state_dict()
  assert set(named(archive.read(tmp_path / "a.pt")[0], Tensor)) == {*state, "mask"}


def test_the_error_for_the_format_of_older_torch_names_it(tmp_path):
  torch.save(checkpoint(0), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
  assert not archive.is_archive(tmp_path / "a.pt")
  with pytest.raises(ValueError, match=r"a.pt has the format of torch before 1.6"):
    archive.read(tmp_path / "a.pt")


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: nn.Linear(2, 2), "it refers to 'torch.nn.modules.linear.Linear'"),
    (lambda: torch.ones(2, dtype=torch.complex64).conj().imag, "a tensor is a view with {'neg': True}"),
    (lambda: torch.ones(2, device="meta"), "it refers to 'torch._utils._rebuild_meta_tensor_no_storage'"),
    (lambda: torch.eye(2).to_sparse(), "it refers to 'torch._utils._rebuild_sparse_tensor'"),
  ],
  ids=["module", "negated", "meta", "sparse"],
)
def test_files_with_objects_other_than_plain_weights_raise(tmp_path, make, message):
  torch.save(make(), tmp_path / "a.pt")
  with pytest.raises(ValueError) as error:
    archive.read(tmp_path / "a.pt")
  assert message in str(error.value)
