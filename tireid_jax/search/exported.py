"""The encoders of a folder that `python -m tireid_jax.export` wrote, run as its StableHLO programs."""

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.export
import safetensors
from jax.sharding import Mesh
from safetensors.numpy import load_file

from tireid_jax.data import tokenizer
from tireid_jax.errors import UserError, first_line, naming
from tireid_jax.parallel import sharding

_PROGRAMS = ("image_encoder.stablehlo", "text_encoder.stablehlo")
_VOCABULARY = "text_model.embeddings.token_embedding.weight"
_TEXT_POSITIONS = "text_model.embeddings.position_embedding.weight"


class Exported(NamedTuple):
  """An exported model: its digest, its sizes, and functions of u8[B, h, w, 3] and i32[B, L] that return f32[B, E]."""

  digest: str
  image_size: tuple[int, int]
  text_length: int
  embedding_size: int
  encode_image: Callable[[jax.Array], jax.Array]
  encode_text: Callable[[jax.Array], jax.Array]


def is_export(folder: pathlib.Path) -> bool:
  """Returns whether a folder holds exported encoders."""
  return all((folder / name).is_file() for name in _PROGRAMS)


def load(folder: pathlib.Path, mesh: Mesh) -> Exported:
  """Returns the encoders of an exported folder, with their weights on every device of a mesh.

  Raises:
    UserError: a file is damaged, or the vocabulary is not CLIP's own, which is the only one that an export names.
  """
  with naming(folder):
    digest = hashlib.sha256()
    weights = sorted(folder.glob("*.safetensors"))
    for file in (folder / _PROGRAMS[0], *weights):
      with file.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    try:
      tensors = {name: array for file in weights for name, array in load_file(file).items()}
      (encode_image, pixels), (encode_text, _) = (_encoder(folder / name, tensors, mesh) for name in _PROGRAMS)
      vocabulary_size, text_length = len(tensors[_VOCABULARY]), len(tensors[_TEXT_POSITIONS])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
      raise UserError(f"{folder} is damaged ({first_line(error)}); export the run again") from error
  if vocabulary_size != tokenizer.VOCABULARY_SIZE:
    raise UserError(
      f"{folder} has a vocabulary of {vocabulary_size:,} ids, not the {tokenizer.VOCABULARY_SIZE:,} of CLIP, and an "
      f"export does not name its tokenizer; search with --workdir of the run itself"
    )
  height, width = pixels.shape[1:3]
  embedding_size = jax.eval_shape(encode_image, jax.ShapeDtypeStruct((1, height, width, 3), "uint8")).shape[1]
  return Exported(digest.hexdigest(), (height, width), text_length, embedding_size, encode_image, encode_text)


def _encoder(file, tensors, mesh):
  """Returns (function of a batch, abstract value of the batch) of a program."""
  program = jax.export.deserialize(bytearray(file.read_bytes()))
  (wanted, batch), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
  weights = jax.device_put({name: tensors[name] for name in wanted}, sharding.replicated(mesh))
  run = jax.jit(program.call, out_shardings=sharding.replicated(mesh))
  return functools.partial(run, weights), batch
