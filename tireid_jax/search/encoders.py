"""The encoders that a search uses: those of a run, of any CLIP weights, or of an exported folder.

Images and sentences go through the same steps as in `evaluate`: PIL's bilinear resize to the model's image size without
regard to the aspect ratio, CLIP's normalisation, and the tokenizer and caption lengths of the config.
"""

import functools
import json
import os
import runpy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from tireid_jax.config import config_file
from tireid_jax.data import tokenizer
from tireid_jax.data.prepared import images
from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding
from tireid_jax.models import variants
from tireid_jax.models.weights import packaged
from tireid_jax.parallel import sharding
from tireid_jax.search import exported
from tireid_jax.storage import locations
from tireid_jax.training import checksum, loading

# Batches are padded to the next of these, so that few programs are compiled and one query costs little.
BATCH_SIZES = (1, 4, 16, 64)


class Identity(NamedTuple):
  """What an index records of the model that made it.

  Attributes:
    source: where the model came from, for messages.
    digest: of its variables.
    preprocessing: JSON data of everything else that its image embeddings depend on.
  """

  source: str
  digest: str
  preprocessing: dict[str, Any]


class Encoders:
  """Encodes images and sentences with one model, over all devices of a mesh.

  Attributes:
    identity: Identity of the model.
    mesh: Mesh.
    image_size: (h, w) of the model's input.
    use_exif: whether images are turned upright by their EXIF orientation.
    embedding_size: E.
    text_length: longest sentence in tokens, including the start and end token.
  """

  def __init__(
    self,
    identity: Identity,
    mesh: Mesh,
    *,
    encode_image: Callable[[jax.Array], jax.Array],
    encode_text: Callable[[jax.Array], jax.Array],
    image_size: tuple[int, int],
    embedding_size: int,
    tokenizer: tokenizer.Tokenizer,
    caption_lengths: Sequence[int],
    use_exif: bool,
  ) -> None:
    """`encode_image` takes u8[B, h, w, 3] and `encode_text` i32[B, L]; both return f32[B, E]."""
    self.identity, self.mesh = identity, mesh
    self.image_size, self.use_exif, self.embedding_size = image_size, use_exif, embedding_size
    self.text_length = caption_lengths[-1]
    self._encode_image, self._encode_text = encode_image, encode_text
    self._tokenizer, self._caption_lengths = tokenizer, np.array(caption_lengths)

  def encode_images(self, pixels: UInt8[np.ndarray, "B h w 3"]) -> Float[np.ndarray, "B E"]:
    """Returns the normalised embeddings of images of `image_size`."""
    return self._run(self._encode_image, pixels)

  def encode_sentences(self, sentences: list[str]) -> Float[np.ndarray, "B E"]:
    """Returns the normalised embeddings of sentences.

    Raises:
      UserError: a sentence is empty, or longer than the model reads.
    """
    for sentence, length in zip(sentences, self.num_tokens(sentences), strict=True):
      if length <= 2:
        raise UserError(f"the query {sentence!r} has no words; describe the person to look for")
      if length > self.text_length:
        raise UserError(
          f"the query {_shortened(sentence)!r} has {length} tokens, but this model reads {self.text_length}; shorten it"
        )
    tokens = self._tokenizer(sentences, self.text_length)
    longest = tokenizer.token_lengths(tokens).max()
    width = int(self._caption_lengths[np.searchsorted(self._caption_lengths, longest)])
    return self._run(self._encode_text, tokens[:, :width])

  def num_tokens(self, sentences: list[str]) -> list[int]:
    """Returns the length of each sentence in tokens, including the start and end token."""
    return self._tokenizer.num_tokens(sentences).tolist()

  def _run(self, encode, rows):
    """Returns f32[B, E], each of norm 1; a batch is computed while the next one is put on the devices."""
    queued = []
    for start in range(0, len(rows), BATCH_SIZES[-1]):
      batch = rows[start : start + BATCH_SIZES[-1]]
      size = next(size for size in BATCH_SIZES if size >= len(batch))
      size = -(-size // sharding.batch_devices(self.mesh)) * sharding.batch_devices(self.mesh)
      padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
      queued.append((len(batch), encode(sharding.put_batch(self.mesh, {"rows": padded})["rows"])))
    found = np.concatenate([np.asarray(encoded)[:count] for count, encoded in queued])
    if not np.isfinite(found).all():
      raise UserError(f"{self.identity.source} gives embeddings that are not finite; the model has diverged")
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def open_encoders(
  *, workdir: str | os.PathLike = "", stage: str = "2", pretrained: str = "", config: ConfigDict | None = None
) -> Encoders:
  """Returns the Encoders of a run, or of published weights.

  Args:
    workdir: of a run; "" for `pretrained`.
    stage: of the run: "0", "1", "2" or "pretrained".
    pretrained: an exported folder, or CLIP weights as in config.pretrained.
    config: for `pretrained`: image size, tokenizer and, for a bare state dict, the model; that of configs/custom.py
      with the model of the weights by default, or of configs/toy_clip.py for toy_clip.

  Raises:
    UserError, MissingFileError: there is no such model, it is damaged, or it has a config of its own.
  """
  if bool(workdir) == bool(pretrained):
    raise UserError("give either --workdir=DIR of a run, or --pretrained=CLIP: a file, folder, hub id or export")
  folder = locations.to_path(pretrained, "--pretrained")
  is_export = bool(pretrained) and not locations.is_remote(folder) and exported.is_export(folder)
  if config is not None and (workdir or is_export):
    raise UserError(f"{workdir or folder} has its own config; leave --config out")
  if is_export:
    return _of_export(folder)
  if pretrained:
    config = _default_config(pretrained) if config is None else config.copy_and_resolve_references()
    config.pretrained = pretrained
  loaded = loading.load_stage(workdir or None, "pretrained" if pretrained else stage, config=config)
  model, variables, config, mesh, step = loaded
  encode_image, encode_text = embedding.compile_encoders(model, mesh)
  params = {name: tree for name, tree in variables["params"].items() if name != "id_head"}
  variables = {"params": params, "prompts": variables["prompts"]}
  source = pretrained or f"{workdir}, stage {stage}" + (f", step {step}" if step else "")
  preprocessing = {
    **_preprocessing(model.image_size, config.data.use_exif),
    "variant": json.loads(json.dumps(variants.to_json(model.variant))),  # tuples as lists, as an index has them
    "stride": model.stride,
  }
  lengths = [length for length in config.data.caption_lengths if length < model.variant.text_length]
  return Encoders(
    Identity(source, checksum.of_tree(mesh, variables), preprocessing), mesh,
    encode_image=functools.partial(encode_image, variables), encode_text=functools.partial(encode_text, variables),
    image_size=model.image_size, embedding_size=model.variant.embedding_size,
    tokenizer=_tokenizer(config.data.tokenizer, model.variant.vocabulary_size, model.variant.end_token),
    caption_lengths=[*lengths, model.variant.text_length], use_exif=config.data.use_exif,
  )  # fmt: skip


def _of_export(folder):
  mesh = sharding.make_mesh(-1, 1, 1)
  found = exported.load(folder, mesh)
  return Encoders(
    Identity(str(folder), found.digest, _preprocessing(found.image_size, True)), mesh,
    encode_image=found.encode_image, encode_text=found.encode_text, image_size=found.image_size,
    embedding_size=found.embedding_size, tokenizer=tokenizer.load_tokenizer(""),
    caption_lengths=[found.text_length], use_exif=True,
  )  # fmt: skip


def _default_config(pretrained):
  """Returns the config of these weights: that of their name for weights of this package, else configs/custom.py."""
  name = pretrained if pretrained in packaged.NAMES and not os.path.exists(pretrained) else "custom"
  config = runpy.run_path(str(config_file.package_configs()[name]))["get_config"]()
  config.model.variant = "from_weights"
  return config


def _preprocessing(image_size, use_exif):
  return {"image_size": list(image_size), "use_exif": use_exif, "decoder": images.DECODER}


def _tokenizer(name, vocabulary_size, end_token):
  """Returns the Tokenizer of this name; raises UserError if its ids are not those of the model."""
  found = tokenizer.load_tokenizer(name)
  if found.vocabulary_size > vocabulary_size or found.end_token != end_token:
    raise UserError(
      f"the tokenizer {name or 'of CLIP'} has {found.vocabulary_size} ids, end token {found.end_token}, but the model "
      f"has {vocabulary_size} ids, end token {end_token}; set --config.data.tokenizer"
    )
  return found


def _shortened(text, length=60):
  return text if len(text) <= length else f"{text[:length]}..."
