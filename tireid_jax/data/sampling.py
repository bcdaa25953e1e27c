"""Which captions make the batch of a step: a function of the seed and the step alone."""

import dataclasses

import numpy as np

from tireid_jax import fields
from tireid_jax.data.permutation import permutation
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


# Every caption once an epoch, with its image, as the reference does.
CAPTIONS = {"kind": "captions", "captions_per_identity": 1, "captions_per_image": 1}

# In the place of an epoch's number, for the order of captions within their groups, which all epochs share.
_ALL_EPOCHS = -1


def make_sampler(split, batch_size, seed, *, kind, captions_per_identity, captions_per_image):
  """Returns sampler(step) -> i64[B] rows of captions; it has `steps_per_epoch` and `captions_per_image`.

  What an epoch is depends on the kind. What would not fill its last batch is left out of it.
  - "captions": every caption once, in a new order.
  - "identities": every identity once, in a new order, with `captions_per_identity` captions next to each other.
  - "images": every image once, in a new order, with `captions_per_image` captions next to each other. The sampler's
    `captions_per_image` is then that number and else 1: so many rows on end have the same image.

  An identity's captions (an image's likewise) have an order of their own, which the seed shuffles, and the epochs go
  round it: each epoch goes on where the last one ended. So none is passed over for good, none comes twice in a batch
  where there are enough, and where there are too few the first ones come again.

  Args:
    split: Split to draw from.
    batch_size: B.
    seed: whole number that all orders follow from.
    kind, captions_per_identity, captions_per_image: as stageN.sampler.
  """
  check(batch_size, kind, captions_per_identity, captions_per_image)
  if kind == "captions":
    return _Captions(split, batch_size, seed)
  if kind == "identities":
    return _Groups(split, split.labels[split.caption_image], captions_per_identity, batch_size, seed, kind)
  return _Groups(split, split.caption_image, captions_per_image, batch_size, seed, kind)


def check(batch_size, kind, captions_per_identity, captions_per_image, prefix=""):
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
  """Every caption once an epoch."""

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
    epoch, place = divmod(step, self.steps_per_epoch)
    return self._shuffle(epoch)[place * self._batch_size : (place + 1) * self._batch_size]


class _Groups:
  """Every group of captions once an epoch, with `size` of its captions; `group` says which each caption is in."""

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
    epoch, place = divmod(step, self.steps_per_epoch)
    groups = self._shuffle(epoch)[place * self._groups_per_batch : (place + 1) * self._groups_per_batch]
    turn = epoch * self._size + np.arange(self._size)
    places = self._first[groups, None] + turn % self._count[groups, None]  # [B / size, size]
    return self._captions[places.reshape(-1)]


class _Shuffle:
  """The order of `num` rows in an epoch; keeps the one last asked for."""

  def __init__(self, num, seed):
    self.num = num
    self._seed = seed
    self._epoch, self._order = -1, np.arange(0)

  def __call__(self, epoch):
    if epoch != self._epoch:
      self._epoch, self._order = epoch, permutation(self.num, self._seed, epoch)
    return self._order
