"""Samplers: the captions of a batch as a function of the seed and the step alone."""

import dataclasses

import numpy as np

from tireid_jax import fields
from tireid_jax.data.permutation import permutation
from tireid_jax.data.prepared import splits
from tireid_jax.errors import UserError
from tireid_jax.fields import at_least, field, one_of

KINDS = ("captions", "identities", "images")


@dataclasses.dataclass(frozen=True)
class Sampler:
  """The fields of `stageN.sampler`."""

  kind: str = field(
    "captions",
    '"captions": each caption once an epoch; "identities" or "images": each of them once an epoch, with several of its '
    'captions, whose number is below. With "images", an image is encoded once for all its captions',
    one_of(*KINDS),
  )
  captions_per_identity: int = field(4, "captions of each identity in a batch", at_least(1))
  captions_per_image: int = field(2, "captions of each image in a batch", at_least(1))


# Every caption once per epoch, with its image, as in the reference implementation.
CAPTIONS = {"kind": "captions", "captions_per_identity": 1, "captions_per_image": 1}

# Stands for the epoch in the order of captions within their groups, which all epochs share.
_ALL_EPOCHS = -1


def make_sampler(
  split: splits.Split,
  batch_size: int,
  seed: int,
  *,
  kind: str,
  captions_per_identity: int,
  captions_per_image: int,
) -> "_Captions | _Groups":
  """Returns sampler(step) -> i64[B] caption indices, with attributes `steps_per_epoch` and `captions_per_image`.

  The kind defines an epoch, whose incomplete last batch is dropped:
  - "captions": every caption once, shuffled in each epoch.
  - "identities": every identity once, shuffled in each epoch, with `captions_per_identity` consecutive captions.
  - "images": every image once, shuffled in each epoch, with `captions_per_image` consecutive captions. Only then is the
    sampler's `captions_per_image` more than 1.

  The captions of an identity (or image) are shuffled once, by the seed, and then taken in turn: each epoch continues
  where the previous one stopped. So every caption is used, none is repeated within a batch if there are enough, and if
  there are too few, the first ones are repeated.

  Args:
    split: Split to sample from.
    batch_size: B.
    seed: integer that determines all orders.
    kind, captions_per_identity, captions_per_image: as stageN.sampler.

  Raises:
    ValueError: the settings do not fit the batch size, or the split is smaller than a batch.
  """
  check(batch_size, kind, captions_per_identity, captions_per_image)
  if kind == "captions":
    return _Captions(split, batch_size, seed)
  if kind == "identities":
    return _Groups(split, split.labels[split.caption_image], captions_per_identity, batch_size, seed, kind)
  return _Groups(split, split.caption_image, captions_per_image, batch_size, seed, kind)


def check(batch_size: int, kind: str, captions_per_identity: int, captions_per_image: int, prefix: str = "") -> None:
  """Raises UserError for settings that no sampler can have, or that `batch_size` does not fit.

  Args:
    batch_size: B.
    kind, captions_per_identity, captions_per_image: as stageN.sampler.
    prefix: of the field names in messages, as "stage1.".
  """
  settings = {
    "kind": kind, "captions_per_identity": captions_per_identity, "captions_per_image": captions_per_image,
  }  # fmt: skip
  fields.check(Sampler, settings, f"{prefix}sampler.")
  size = {"captions": 1, "identities": captions_per_identity, "images": captions_per_image}[kind]
  if batch_size % size:
    raise UserError(
      f"{prefix}batch_size {batch_size} must be a multiple of the {size} captions each of sampler.kind={kind}"
    )


class _Captions:
  """Every caption once per epoch."""

  captions_per_image = 1

  def __init__(self, split, batch_size, seed):
    self._shuffle = _Shuffle(len(split.tokens), seed)
    self._batch_size = batch_size
    if self._shuffle.num < batch_size:
      raise UserError(
        f"batch_size {batch_size} is more than the {self._shuffle.num} captions of {split.name} {split.split}; make it "
        f"less"
      )
    self.steps_per_epoch = self._shuffle.num // batch_size

  def __call__(self, step):
    epoch, batch = divmod(step, self.steps_per_epoch)
    return self._shuffle(epoch)[batch * self._batch_size : (batch + 1) * self._batch_size]


class _Groups:
  """Every group of captions once per epoch, with `size` of its captions; `group` is i64[num_captions] group ids."""

  def __init__(self, split, group, size, batch_size, seed, kind):
    self.captions_per_image = size if kind == "images" else 1
    captions = permutation(len(group), seed, _ALL_EPOCHS)
    self._captions = captions[np.argsort(group[captions], kind="stable")]  # by group, shuffled within each
    _, self._first, self._count = np.unique(group[self._captions], return_index=True, return_counts=True)
    self._size = size
    self._groups_per_batch = batch_size // size
    self._shuffle = _Shuffle(len(self._first), seed)
    if self._shuffle.num < self._groups_per_batch:
      raise UserError(
        f"batch_size {batch_size} with {size} captions of each takes {self._groups_per_batch} {kind}, more than the "
        f"{self._shuffle.num} of {split.name} {split.split}; make it less"
      )
    self.steps_per_epoch = self._shuffle.num // self._groups_per_batch

  def __call__(self, step):
    epoch, batch = divmod(step, self.steps_per_epoch)
    groups = self._shuffle(epoch)[batch * self._groups_per_batch : (batch + 1) * self._groups_per_batch]
    turn = epoch * self._size + np.arange(self._size)
    positions = self._first[groups, None] + turn % self._count[groups, None]  # [B / size, size]
    return self._captions[positions.reshape(-1)]


class _Shuffle:
  """Permutation of `num` indices for each epoch; caches the latest."""

  def __init__(self, num, seed):
    self.num = num
    self._seed = seed
    self._epoch, self._order = -1, np.arange(0)

  def __call__(self, epoch):
    if epoch != self._epoch:
      self._epoch, self._order = epoch, permutation(self.num, self._seed, epoch)
    return self._order
