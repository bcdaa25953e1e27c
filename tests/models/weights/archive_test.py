import os
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest

from tests.models.weights.archives import (
  ARCHIVES,
  SIX,
  Built,
  Call,
  Name,
  Storage,
  error_message,
  module,
  named,
  pickled,
  six,
  tensor,
  write_archive,
)
from tireid_jax.models.weights import archive
from tireid_jax.models.weights.tensor import Tensor

REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)


def read_one(tmp_path, stored, storage=SIX, **layout):
  """Returns the only Tensor of a new archive."""
  return archive.read(write_archive(tmp_path / "one.pt", stored, {"0": storage}, **layout))[0]


def error_of(tmp_path, value, storages=None):
  return error_message(write_archive(tmp_path / "bad.pt", value, {"0": SIX} if storages is None else storages))


def test_values_other_than_tensors_are_read_back_unchanged(tmp_path):
  stored = {"epoch": 3, "rate": 0.5, "names": ["a", None, True], "pair": ("x", -(2**40)), "size": {"L": {"h": 2}}}
  content, is_torchscript = archive.read(write_archive(tmp_path / "a.pt", stored))
  assert content == stored
  assert not is_torchscript


@pytest.mark.parametrize(
  ("size", "stride", "offset", "expected"),
  [
    ((2, 3), (3, 1), 0, [[0, 1, 2], [3, 4, 5]]),
    ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),
    ((2,), (3,), 2, [2, 5]),
    ((), (), 4, 4),
    ((0, 3), (3, 1), 0, np.zeros((0, 3))),
    ((0, 2), (1, 10**30), 0, np.zeros((0, 2))),
    ((2, 2), (0, 1), 4, [[4, 5], [4, 5]]),
    ((1, 2), (10**30, 1), 4, [[4, 5]]),
  ],
)
def test_a_tensor_is_the_strided_view_that_was_saved(tmp_path, size, stride, offset, expected):
  read = read_one(tmp_path, six(size, stride, offset))
  assert read.shape == size
  values = read.read()
  assert values.dtype == np.float32
  assert values.shape == size
  np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
  ("kind", "dtype"),
  [
    ("Half", np.float16), ("Float", np.float32), ("Double", np.float64), ("BFloat16", ml_dtypes.bfloat16),
    ("Bool", np.bool), ("Byte", np.uint8), ("Char", np.int8), ("Short", np.int16), ("Int", np.int32),
    ("Long", np.int64),
  ],
)  # fmt: skip
def test_values_keep_their_stored_type(tmp_path, kind, dtype):
  values = read_one(tmp_path, six((6,), (1,), kind=f"{kind}Storage"), SIX.astype(dtype)).read()
  assert values.dtype == dtype
  np.testing.assert_array_equal(values, SIX.astype(dtype))


def test_a_tensor_reads_only_its_own_storage_on_demand(tmp_path):
  good, bad = (tensor(Storage(key, 6), (6,), (1,)) for key in "01")
  path = write_archive(tmp_path / "a.pt", {"good": good, "bad": bad}, {"0": SIX, "1": SIX + 10})
  data = path.read_bytes()
  path.write_bytes(data.replace((SIX + 10).tobytes(), (SIX + 11).tobytes()))
  content, _ = archive.read(path)
  np.testing.assert_array_equal(content["good"].read(), SIX)
  with pytest.raises(ValueError, match=r"a.pt is damaged or truncated \(Bad CRC-32 .*\); copy or download it again"):
    content["bad"].read()


def test_a_file_replaced_by_a_smaller_one_raises_instead_of_reading_beyond_its_end(tmp_path):
  read = read_one(tmp_path, six((6,), (1,)))
  write_archive(tmp_path / "one.pt", None, {"0": SIX[:2]})
  with pytest.raises(ValueError, match=r"one.pt has changed since it was opened"):
    read.read()


@pytest.mark.parametrize("name", ["a.pt", "pytorch_model.bin", "weights.safetensors"])
@pytest.mark.parametrize("top", ["archive", "ViT-B-32"])
def test_an_archive_is_recognised_by_its_content(tmp_path, name, top):
  path = write_archive(tmp_path / name, six((6,), (1,)), {"0": SIX}, top=top)
  assert archive.is_archive(path)
  np.testing.assert_array_equal(archive.read(path)[0].read(), SIX)


def test_other_files_are_not_archives(tmp_path):
  (tmp_path / "text.pt").write_text("no archive")
  (tmp_path / "legacy.pt").write_bytes(LEGACY)
  (tmp_path / "empty.pt").write_bytes(b"")
  np.savez(tmp_path / "zip", data=SIX)
  assert not any(archive.is_archive(path) for path in [*tmp_path.iterdir(), tmp_path, tmp_path / "none.pt"])
  assert "text.pt is not a PyTorch archive" in error_message(tmp_path / "text.pt")
  assert "zip.npz is a zip file with 0 folders that contain a data.pkl" in error_message(tmp_path / "zip.npz")
  assert "legacy.pt has the format of torch before 1.6; load it with a newer torch" in error_message(
    tmp_path / "legacy.pt"
  )
  with pytest.raises(FileNotFoundError):
    archive.read(tmp_path / "none.pt")


def test_torchscript_modules_are_dicts_of_their_attributes(tmp_path):
  inner = module("torch.nn.modules.linear.___torch_mangle_7.Linear", weight=six((2, 3), (3, 1)), bias=None)
  outer = module("model.Multimodal", training=False, visual=inner, logit_scale=six((), (), 5))
  path = write_archive(tmp_path / "a.pt", outer, {"0": SIX}, files={"constants.pkl": b"", "code/__torch__.py": b""})
  content, is_torchscript = archive.read(path)
  assert is_torchscript
  assert type(content) is type(content["visual"]) is dict
  assert {name: t.shape for name, t in named(content, Tensor).items()} == {"visual.weight": (2, 3), "logit_scale": ()}
  assert content["training"] is False
  assert content["visual"]["bias"] is None


@pytest.mark.parametrize(
  ("name", "is_torchscript"),
  [("checkpoint", False), ("traced", True), ("scripted", True)],
)
def test_archives_made_by_torch_hold_the_values_that_torch_saved(name, is_torchscript):
  content, found_torchscript = archive.read(ARCHIVES / f"{name}.pt")
  assert found_torchscript == is_torchscript
  found, expected = named(content, Tensor), np.load(ARCHIVES / f"{name}.npz")
  assert set(found) == set(expected)
  for key in found:
    values = found[key].read()
    assert found[key].shape == values.shape == expected[key].shape
    assert values.dtype == (ml_dtypes.bfloat16 if key.endswith("bfloat16") else expected[key].dtype), key
    np.testing.assert_array_equal(values.astype(expected[key].dtype), expected[key], err_msg=key)


def test_a_checkpoint_may_contain_other_training_state():
  content, _ = archive.read(ARCHIVES / "checkpoint.pt")
  assert content["epoch"] == 7
  assert content["optimizer"]["param_groups"][0]["lr"] == 1e-3
  assert type(content["model"]) is dict
  assert not hasattr(content["args"], "lr")


NAMES = [
  ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
  ("__builtin__", "eval"), ("builtins", "__import__"), ("torch", "load"), ("numpy", "load"), ("torch.hub", "load"),
  ("torch._utils", "_rebuild_sparse_tensor"), ("collections", "OrderedDict.__init__.__globals__"),
  ("collections.OrderedDict", "__init__"), ("torch", "_utils._rebuild_tensor_v2.__globals__"),
  ("pathlib", "PosixPath.touch"), ("tireid_jax.models.weights.archive", "read"), ("__torch", "Model"),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(name) for name in NAMES])
def test_an_object_that_is_not_allowed_raises_and_is_not_called(tmp_path, module, name, protocol):
  touched = tmp_path / "touched"
  by_stack = b"".join(pickle.dumps(text, 2)[2:-1] for text in (module, name)) + b"\x93"
  data = pickled(Call(Name(module, name), (f"touch {touched}",)))
  if protocol == 4:
    data = data.replace(b"\x80\x02", b"\x80\x04").replace(f"c{module}\n{name}\n".encode(), by_stack)
  assert f"it refers to '{module}.{name}', which is not allowed" in error_of(tmp_path, data)
  assert not touched.exists()


class _Touch:
  """An object whose pickle calls os.system."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.system, (f"touch {self.path}",)


def test_a_call_pickled_by_python_raises(tmp_path):
  data = pickle.dumps({"model": {}, "callback": _Touch(tmp_path / "touched")})
  assert "it refers to 'posix.system'" in error_of(tmp_path, data)
  assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
  "state",
  [
    {"shape": (9,)},
    {"_call": 1},
    *((None, {name: 1}) for name in ("__defaults__", "_call", "dtype", "tensor", "read")),
  ],
  ids=str,
)
@pytest.mark.parametrize(
  "target",
  [
    REBUILD, Name("torch", "Size"), Name("torch", "FloatStorage"), Name("collections", "OrderedDict"),
    Name("__torch__", "M"), Storage("0", 6), six((6,), (1,)), Call(Name("torch", "Size"), ((2,),)),
  ],
)  # fmt: skip
def test_a_file_cannot_set_attributes_of_shared_objects(tmp_path, target, state):
  message = error_of(tmp_path, Built(target, state))
  assert "it sets attributes of a" in message or "__setstate__" in message or "attribute" in message
  np.testing.assert_array_equal(read_one(tmp_path, six((2,), (3,), 2)).read(), [2, 5])


def test_attributes_of_ignored_objects_are_dropped(tmp_path):
  scalar = Built(Call(Name("numpy", "dtype"), ("f8",)), (3, "<", None))
  arguments = Built(Call(Name("argparse", "Namespace"), ()), {"rate": scalar})
  ordered = Built(Call(Name("collections", "OrderedDict"), ()), {"_metadata": 1, "items": 2})
  content, _ = archive.read(write_archive(tmp_path / "a.pt", [arguments, ordered, scalar]))
  assert not hasattr(content[0], "rate")
  assert content[1] == {}
  assert list(content[1].items()) == []


@pytest.mark.parametrize(
  ("size", "stride", "offset"),
  [
    ((7,), (1,), 0), ((6,), (1,), 1), ((2,), (6,), 0), ((1,), (1,), 6), ((), (), 6), ((2,), (-1,), 5), ((6,), (1,), -1),
    ((-1,), (1,), 0), ((2, 3), (3,), 0), ((2,), (3, 1), 0), ((2.0,), (1,), 0), ((2,), (None,), 0), ((True,), (1,), 0),
    (6, 1, 0), ((10**15,), (0,), 0), ((10**15,), (1,), 0), ((0, 10**15), (1, 1), 0), ((10**5,) * 5, (0,) * 5, 0),
    ((2**63, 2), (1, 2**63), 0), ((1,) * 65, (1,) * 65, 0), (None, (), 0), ((2,), (1,), None),
  ],
)  # fmt: skip
def test_a_tensor_beyond_its_storage_raises_before_anything_is_read(tmp_path, size, stride, offset):
  message = error_of(tmp_path, {"weight": six(size, stride, offset)})
  assert "storage 'archive/data/0' of 6 elements has no room for" in message or "iterable" in message


@pytest.mark.parametrize(
  ("storage", "expected"),
  [
    (Storage("0", 7), "storage 'archive/data/0' has 24 bytes, not 28"),
    (Storage("0", 3), "has 24 bytes, not 12"),
    (Storage("0", 6, "HalfStorage"), "has 24 bytes, not 12"),
    (Storage("0", 10**15), "has 24 bytes, not 4000000000000000"),
    (Storage("0", -6), "has 24 bytes, not -24"),
    (Storage("0", 6.0), "it refers to the invalid storage ('storage', "),
    (Storage("9", 6), "it refers to the storage 'archive/data/9', which is not in the archive"),
    (Storage("../../data.pkl", 6), "'archive/data/../../data.pkl', which is not in the archive"),
    (Storage("0", 6, "QInt8Storage"), "it refers to 'torch.QInt8Storage'"),
    ("storage", "'str' object has no attribute"),
  ],
)
def test_a_storage_that_differs_from_its_description_raises(tmp_path, storage, expected):
  assert expected in error_of(tmp_path, tensor(storage, (1,), (1,)))


def test_a_negated_view_raises(tmp_path):
  assert "is a view with {'neg': True}" in error_of(
    tmp_path, tensor(Storage("0", 6), (6,), (1,), metadata=({"neg": True},))
  )


def test_a_value_that_contains_itself_raises(tmp_path):
  assert "are nested more than 100 deep" in error_of(tmp_path, b"\x80\x02}q\x00U\x01ah\x00s.")


def test_tuples_nested_deeply_enough_to_overflow_the_stack_raise(tmp_path):
  assert "it has 100001 tuples; at most 100000 are allowed" in error_of(
    tmp_path, b"\x80\x02})" + b"\x85" * 100_001 + b"Ns."
  )


def test_a_pickle_that_would_allocate_gigabytes_raises(tmp_path):
  assert "its pickle has the memo index 4294967295" in error_of(tmp_path, b"\x80\x02Nr\xff\xff\xff\xff.")
  assert "remain" in error_of(tmp_path, b"\x80\x04\x8e" + struct.pack("<Q", 2**50) + b"x.")
