"""Prepared data sets: fixed-size images in array records, with an index of identities, captions and tokens."""

import dataclasses
import hashlib
import pathlib
import shlex
from typing import Any

import numpy as np

from tireid_jax.config import former, paths
from tireid_jax.data.datasets import custom, registry
from tireid_jax.data.permutation import permutation
from tireid_jax.data.prepared import recipe, split_files
from tireid_jax.data.raw import schema
from tireid_jax.data.tokenizer import MAX_LENGTH
from tireid_jax.errors import MissingFileError, UserError, naming
from tireid_jax.storage import locations

INFO_FILE = recipe.FILE

# The report on the data: text, and a page with pictures.
REPORT_FILE, REPORT_PAGE = "report.txt", "report.html"

# Splits up to this size are held in memory. The test split of CUHK-PEDES takes 0.42 GiB, its train split 4.7 GiB.
IN_MEMORY_BYTES = 2**30


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """One split of a prepared data set.

  Attributes:
    name, split: names of the data set and the split.
    images: u8[num_images, h, w, 3] when indexed by an array or a slice: held in memory, or read from disk on access.
    person_id: i32[num_images] identities as in the annotation file; schema.NO_PERSON for a distractor without one.
    labels: i32[num_images] in train, `person_id` numbered 0..C-1 in ascending order; in other splits, `person_id`.
    num_identities: C.
    tokens: i32[num_captions, 77] ids of each caption.
    caption_image: i32[num_captions] index of the image that each caption describes; in val and test, the other images
      are distractors.
    captions: each caption as annotated.
    file_paths: path of each image below the raw folder's `imgs/`.
    cameras, times: of each image as annotated, "" where unknown.
    fingerprint: digest of the data set's whole content and, if identities are held out for validation, of their choice.
  """

  name: str
  split: str
  images: np.ndarray | split_files.RecordImages
  person_id: np.ndarray
  labels: np.ndarray
  num_identities: int
  tokens: np.ndarray
  caption_image: np.ndarray
  captions: list[str]
  file_paths: list[str]
  fingerprint: str
  cameras: list[str] = dataclasses.field(default_factory=list)
  times: list[str] = dataclasses.field(default_factory=list)

  @property
  def described(self) -> np.ndarray:
    """i64[num_images - num_distractors] indices of images with captions, ascending: the image-to-text queries."""
    return np.unique(self.caption_image).astype(np.int64)

  @property
  def num_distractors(self) -> int:
    """Number of images without a caption."""
    return len(self.person_id) - len(self.described)


def local_dir(data_dir: str | pathlib.Path) -> pathlib.Path:
  """Returns the folder that config.data_dir names; a URL raises ValueError, since data are read from a local disk."""
  return locations.local_path(data_dir, "--config.data_dir")


def prepared_path(data_dir: str | pathlib.Path, name: str, image_size: tuple[int, int]) -> pathlib.Path:
  """Returns the folder of a data set prepared at an image size (h, w), whether it exists or not."""
  return local_dir(data_dir) / registry.layout_of(name).name / schema.size_name(image_size) / schema.VERSION


def dataset_info(
  data_dir: str | pathlib.Path, name: str, image_size: tuple[int, int], tokenizer: str = ""
) -> dict[str, Any]:
  """Returns the dataset.json of a prepared data set: counts by split, tokenizer, fingerprint, versions.

  Raises:
    FileNotFoundError: it is not prepared; the message has the command that prepares it.
    ValueError: it is prepared with another tokenizer than config.data.tokenizer, or damaged; likewise.
  """
  path = prepared_path(data_dir, name, image_size) / INFO_FILE
  command = prepare_command(data_dir, name, image_size, tokenizer)
  with naming(path):  # for a folder without search permission, some versions of Python raise
    is_prepared = path.is_file()
  if is_prepared:
    info = recipe.read(path)
    if info["image_size"] != list(image_size):
      raise UserError(f"{path} is of images of {info['image_size']} pixels; remove {path.parent} and run {command}")
    used = info["tokenizer"]["name"]
    if not paths.is_same(used, tokenizer):
      raise UserError(
        f"{path.parent} is prepared with the tokenizer {used or 'of CLIP'}, but config.data.tokenizer asks for "
        f"{tokenizer or 'that of CLIP'}; remove that folder, or give another --config.data_dir, and run {command}"
      )
    return info
  others = [found.parts[-3] for found in sorted(local_dir(data_dir).glob(f"{name}/*/{schema.VERSION}/{INFO_FILE}"))]
  known = f" (it is at {', '.join(others)})" if others else former.hint(name, local_dir(data_dir))
  raise MissingFileError(
    f"{name} at {schema.size_name(image_size)} is not prepared in {data_dir}{known}; run {command}"
  )


def check_tokens(info: dict[str, Any], *, vocabulary_size: int, end_token: int, text_length: int) -> None:
  """Raises ValueError if a text encoder of these sizes does not fit the tokens of a data set with this `info`."""
  tokenizer = info["tokenizer"]
  name = f"the tokenizer {tokenizer['name'] or 'of CLIP'}"
  if tokenizer["vocabulary_size"] > vocabulary_size or tokenizer["end_token"] != end_token:
    raise UserError(
      f"{info['name']} is prepared with {name} ({tokenizer['vocabulary_size']} ids, end token "
      f"{tokenizer['end_token']}), but the model has {vocabulary_size} ids and the end token {end_token}; set "
      f"--config.data.tokenizer to the model's own and prepare the data set with it"
    )
  if text_length < MAX_LENGTH:
    raise UserError(
      f"captions are prepared with up to {MAX_LENGTH} tokens, but the model's position table has {text_length}"
    )


def prepare_command(data_dir: str | pathlib.Path, name: str, image_size: tuple[int, int], tokenizer: str = "") -> str:
  """Returns the command line that prepares a data set, except for the raw folder's name."""
  layout = registry.layout_of(name)
  size = shlex.quote(f"--config.data.image_size=({image_size[0]},{image_size[1]})")
  folder = shlex.quote(f"--config.data_dir={data_dir}")
  option = shlex.quote(f"--config.data.tokenizer={tokenizer}") + " " if tokenizer else ""
  rest = " and the --config.custom fields of before" if custom.is_custom(name) else ""
  return f"python -m tireid_jax.data.prepare --config={layout.config} {folder} {size} {option}--raw=DIR{rest}"


def open_split(
  data_dir: str | pathlib.Path,
  name: str,
  image_size: tuple[int, int],
  split: str,
  *,
  tokenizer: str = "",
  val_identities: int = 0,
  seed: int = 0,
  in_memory_bytes: int = IN_MEMORY_BYTES,
) -> Split:
  """Returns a Split of a prepared data set.

  Args:
    data_dir: folder of prepared data sets.
    name: of the data set, as config.data.name.
    image_size: (h, w) pixels that it was prepared at.
    split: "train", "val" or "test".
    tokenizer: that it was prepared with, as config.data.tokenizer.
    val_identities: for data sets without a val split, the number of training identities held out as val.
    seed: selects these identities.
    in_memory_bytes: splits with images of up to this size in total are read into memory.

  Raises:
    FileNotFoundError: the data set is not prepared.
    ValueError: it is damaged, has no such split, or is prepared with another tokenizer.
  """
  info = dataset_info(data_dir, name, image_size, tokenizer)
  stored = _stored_split(info, split, val_identities)
  folder = prepared_path(data_dir, name, image_size)
  with naming(folder), split_files.naming_damage(folder):
    index, images = split_files.open_stored(folder, stored, info)
  selected = np.arange(len(index["person_id"]))
  if val_identities and stored == "train":
    is_val = np.isin(index["person_id"], _held_out(index["person_id"], val_identities, seed))
    selected = np.flatnonzero(is_val if split == "val" else ~is_val)
  fingerprint = info["fingerprint"]
  if val_identities and stored == "train":  # the labels depend on which identities are held out
    fingerprint = hashlib.sha256(f"{fingerprint} {val_identities} {seed}".encode()).hexdigest()
  images = images.only(selected)
  person_id = index["person_id"][selected]
  identities, labels = np.unique(person_id, return_inverse=True)
  new_index = np.full(len(index["person_id"]), -1, np.int32)
  new_index[selected] = np.arange(len(selected))
  captions = np.flatnonzero(new_index[index["caption_image"]] >= 0)
  return Split(
    name=name,
    split=split,
    images=images.in_memory() if images.nbytes <= in_memory_bytes else images,
    person_id=person_id,
    labels=labels.astype(np.int32) if split == "train" else person_id,
    num_identities=len(identities),
    tokens=index["tokens"][captions].astype(np.int32),
    caption_image=new_index[index["caption_image"][captions]],
    captions=[index["captions"][caption] for caption in captions],
    file_paths=[index["file_paths"][image] for image in selected],
    fingerprint=fingerprint,
    cameras=[index["cameras"][image] for image in selected],
    times=[index["times"][image] for image in selected],
  )


def check_split(
  data_dir: str | pathlib.Path,
  name: str,
  image_size: tuple[int, int],
  split: str,
  *,
  tokenizer: str = "",
  val_identities: int = 0,
) -> None:
  """Raises as `open_split` if the data set is not prepared or has no such split; reads no image."""
  _stored_split(dataset_info(data_dir, name, image_size, tokenizer), split, val_identities)


def _stored_split(info, split, val_identities):
  """Returns the stored split that contains `split`."""
  name, stored = info["name"], info["counts"]
  if val_identities and "val" in stored:
    raise UserError(f"{name} has a val split of its own; set --config.data.val_identities=0, not {val_identities}")
  if "train" in stored and not 0 <= val_identities < stored["train"]["ids"]:
    raise UserError(
      f"config.data.val_identities={val_identities} must be from 0 to less than the {stored['train']['ids']} training "
      f"identities of {name}"
    )
  if split in stored:
    if not stored[split]["captions"]:
      raise UserError(f"the {split} split of {name} has no caption to be a query; prepare it with some")
    return split
  if split == "val" and val_identities:
    return "train"
  hint = "; --config.data.val_identities=N holds out training identities" if split == "val" else ""
  raise UserError(f"{name} has no split {split!r}, only {', '.join(stored)}{hint}")


def _held_out(person_id, val_identities, seed):
  """Returns the identities of `person_id` that are held out for validation, selected by `seed`."""
  identities = np.unique(person_id)
  return identities[permutation(len(identities), seed)[:val_identities]]
