"""Unpickles a PyTorch file to plain values and Tensors without importing or executing anything that it refers to.

It is our own unpickler, since torch must not be a dependency and weights come from untrusted sources.
"""

import functools
import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tireid_jax.errors import UserError
from tireid_jax.models.weights.tensor import Tensor

# Deeper than any checkpoint; a value that contains itself would recurse forever.
_MAX_DEPTH = 100
# Nested tuples are hashed recursively when used as a dict key, which overflows the stack at a depth of 130,000.
_MAX_TUPLES = 100_000

_DTYPES = {
  name: np.dtype(name)
  for name in (
    "float16", "float32", "float64", "complex64", "complex128", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
  )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip
_STORAGES = {
  "Half": "float16", "Float": "float32", "Double": "float64", "BFloat16": "bfloat16", "Bool": "bool",
  "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64", "Byte": "uint8",
  "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip

# Other objects in checkpoints: command-line arguments, random states, schedules, values of metrics.
_IGNORED = [
  "argparse.Namespace", "collections.Counter", "collections.defaultdict", "collections.deque", "_codecs.encode",
  "numpy.dtype", "numpy.ndarray", "torch.Tensor", "torch.device",
  *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
  *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
  *(f"{module}.{name}" for module in ("builtins", "__builtin__")
    for name in ("bytearray", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "slice",
                 "xrange")),
  *(f"{module}.{name}" for module in ("pathlib", "pathlib._local")
    for name in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")),
]  # fmt: skip


def load(data: bytes, open_storage: Callable[[Any, int], Callable[..., Tensor]]) -> Any:
  """Returns the pickled value: dicts, lists, tuples, numbers and strings unchanged, and a Tensor for each tensor.

  A module of a TorchScript archive becomes the dict of its attributes and an OrderedDict a dict. Objects unrelated to
  weights (arguments, NumPy scalars) are replaced by empty placeholders.

  Args:
    data: the pickle.
    open_storage: (key, num_bytes) -> ((dtype, offset, size, stride) -> Tensor), called for each storage that the pickle
      refers to. All arguments but `dtype` and `num_bytes` are taken from the file and may be of any type and value.

  Raises:
    UserError: if the pickle is damaged, contains itself, or refers to a Python object that is not allowed.
  """
  try:
    _check_operations(data)
    return _plain(_Unpickler(data, open_storage).load(), {})
  except Exception as error:  # a damaged pickle raises nearly any error, from IndexError to MemoryError
    raise UserError(str(error) or type(error).__name__) from error


def _check_operations(data: bytes) -> None:
  """Raises an error where Python's unpickler would crash, or use far more memory than the size of the file."""
  num_tuples = 0
  for opcode, argument, _ in pickletools.genops(data):
    # The unpickler allocates a memo table as long as the largest of these indices, up to 64 GiB.
    if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
      raise pickle.UnpicklingError(f"its pickle has the memo index {argument}, beyond its size")
    num_tuples += opcode.name.startswith("TUPLE")
  if num_tuples > _MAX_TUPLES:
    raise pickle.UnpicklingError(
      f"it has {num_tuples} tuples; at most {_MAX_TUPLES} are allowed, enough for 25,000 tensors"
    )


class _Unpickler(pickle.Unpickler):
  def __init__(self, data: bytes, open_storage: Callable[[Any, int], Callable[..., Tensor]]):
    super().__init__(io.BytesIO(data))
    self._open_storage = open_storage

  def find_class(self, module, name):
    wanted = f"{module}.{name}"
    if module.partition(".")[0] == "__torch__":
      return _Module
    if wanted not in _ALLOWED:
      raise pickle.UnpicklingError(
        f"it refers to {wanted!r}, which is not allowed in a weight file; save only the weights "
        f"(torch.save(model.state_dict(), ...))"
      )
    return _ALLOWED[wanted]

  def persistent_load(self, pid):
    kind, element, key, _, count = pid
    if kind != "storage" or not isinstance(element, _Element) or type(count) is not int:
      raise pickle.UnpicklingError(f"it refers to the invalid storage {pid}")
    return _Storage(element.dtype, self._open_storage(key, count * element.dtype.itemsize))


class _Sealed:
  """An object that a file may refer to but not modify: BUILD, the opcode that sets attributes, raises."""

  __slots__ = ()

  def __setstate__(self, state):
    raise pickle.UnpicklingError(f"it sets attributes of a {type(self).__name__.strip('_').lower()}")


class _Function(_Sealed):
  """A function that a file may call. A plain Python function would accept attributes, so a file never gets one."""

  __slots__ = ("_call",)

  def __init__(self, call):
    self._call = call

  def __call__(self, *args):
    return self._call(*args)


class _Element(_Sealed):
  """A torch dtype, or the class of storages of that dtype."""

  __slots__ = ("dtype",)

  def __init__(self, dtype):
    self.dtype = dtype


class _Storage(_Sealed):
  __slots__ = ("dtype", "tensor")

  def __init__(self, dtype, tensor):
    self.dtype = dtype
    self.tensor = tensor


class _SealedTensor(_Sealed, Tensor):
  pass


class _Ignored:
  """A placeholder that accepts and discards any content."""

  __slots__ = ()

  def __new__(cls, *args, **kwargs):
    return super().__new__(cls)

  def _drop(self, *args):
    pass

  __setstate__ = __setitem__ = extend = _drop


class _OrderedDict(dict):
  """A dict without the attributes (`_metadata`) that torch sets on a state dict."""

  __slots__ = ()

  def __setstate__(self, state):
    pass


class _Module(dict):
  """An object of a TorchScript class, as the dict of its attributes."""

  __slots__ = ()

  def __init__(self, *args):
    # The argument, if any, is the value of an enumeration and unrelated to weights.
    super().__init__()

  def __setstate__(self, state):
    if not isinstance(state, dict):
      raise pickle.UnpicklingError("the attributes of a TorchScript module are not stored as a dict")
    self.update(state)


def _rebuild_tensor(storage, offset, size, stride, requires_grad, hooks, metadata=None):
  return _view(storage, storage.dtype, offset, size, stride, metadata)


def _rebuild_typed_tensor(storage, offset, size, stride, requires_grad, hooks, element, metadata=None):
  return _view(storage, element.dtype, offset, size, stride, metadata)


def _view(storage: _Storage, dtype: np.dtype, offset: Any, size: Any, stride: Any, metadata: Any) -> Tensor:
  if metadata:
    # Ignoring it would return negated or conjugated values.
    raise pickle.UnpicklingError(f"a tensor is a view with {metadata}; save a copy of it (tensor.resolve_neg())")
  tensor = storage.tensor(dtype, offset, size, stride)
  return _SealedTensor(tensor.shape, tensor.read)


_ALLOWED: dict[str, Any] = {
  **{f"torch.{name}": _Element(dtype) for name, dtype in _DTYPES.items()},
  **{f"torch.{name}Storage": _Element(_DTYPES[dtype]) for name, dtype in _STORAGES.items()},
  "torch.storage.UntypedStorage": _Element(_DTYPES["uint8"]),
  **dict.fromkeys(_IGNORED, _Ignored),
  "collections.OrderedDict": _OrderedDict,
  "torch.Size": _Function(tuple),
  "torch._utils._rebuild_tensor_v2": _Function(_rebuild_tensor),
  "torch._utils._rebuild_tensor_v3": _Function(_rebuild_typed_tensor),
  "torch._utils._rebuild_parameter": _Function(lambda tensor, *_: tensor),
  "torch._utils._rebuild_parameter_with_state": _Function(lambda tensor, *_: tensor),
  "torch._tensor._rebuild_from_type_v2": _Function(lambda rebuild, kind, args, state: rebuild(*args)),
  "torch.jit._pickle.restore_type_tag": _Function(lambda value, kind: value),
  **{
    f"torch.jit._pickle.build_{kind}list": _Function(lambda values: values)
    for kind in ("int", "double", "bool", "tensor")
  },
}


def _plain(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
  """Returns the value with plain dicts and Tensors in place of the classes used for unpickling.

  Args:
    value: as unpickled.
    done: {id: plain value} of the values converted so far, so that a shared value is converted once.
    depth: of nesting.
  """
  if depth > _MAX_DEPTH:
    raise pickle.UnpicklingError(f"its values are nested more than {_MAX_DEPTH} deep")
  if id(value) in done:
    return done[id(value)]
  convert = functools.partial(_plain, done=done, depth=depth + 1)
  plain: Any
  if isinstance(value, Tensor):
    plain = Tensor(value.shape, value.read)
  elif isinstance(value, dict):
    plain = {key: convert(item) for key, item in value.items()}
  elif isinstance(value, (list, tuple)):
    plain = type(value)(map(convert, value))
  else:
    return value
  done[id(value)] = plain
  return plain
