"""Batches are a function of seed and step, contain each caption once per epoch, and can be read in shards."""

import functools
import threading

import numpy as np
import pytest

from tireid_jax.data import loader, sampling, tokenizer
from tireid_jax.data.prepared import splits

LENGTHS = (6, 9, 77)


def make_split(num_images=7, captions_per_image=2, longest=6):
  """Returns a Split in which pixels equal the image's index, and caption i has 1 + i % longest words."""
  num_captions = num_images * captions_per_image
  captions = [f"{'red ' * (index % longest)}{index}" for index in range(num_captions)]
  indices = np.arange(num_images, dtype=np.uint8)
  return splits.Split(
    name="cuhk_pedes",
    split="train",
    images=np.broadcast_to(indices[:, None, None, None], (num_images, 2, 3, 3)),
    person_id=np.arange(num_images, dtype=np.int32) + 100,
    labels=np.arange(num_images, dtype=np.int32),
    num_identities=num_images,
    tokens=tokenizer.tokenize(captions),
    caption_image=np.repeat(np.arange(num_images, dtype=np.int32), captions_per_image),
    captions=captions,
    file_paths=[f"{index}.jpg" for index in indices],
    fingerprint="",
  )


def make_batches(split, batch_size=4, seed=0, **settings):
  return loader.Batches(split, batch_size, seed=seed, caption_lengths=LENGTHS, **settings)


def sampler(kind):
  return {"kind": kind, "captions_per_identity": 2, "captions_per_image": 2}


def captions_of(batch, split):
  """Returns the indices of the captions in a batch, found by their tokens."""
  length = batch["tokens"].shape[1]
  return [int(np.flatnonzero((split.tokens[:, :length] == tokens).all(axis=1))[0]) for tokens in batch["tokens"]]


def epochs_of(batches, split, num_epochs):
  """Returns the caption indices of each epoch, in order."""
  steps = batches.steps_per_epoch
  return [
    [caption for step in range(steps) for caption in captions_of(batches(epoch * steps + step), split)]
    for epoch in range(num_epochs)
  ]


def assert_same(one, other):
  assert one.keys() == other.keys()
  for key in one:
    np.testing.assert_array_equal(one[key], other[key])


def test_a_batch_pairs_each_caption_with_its_image_and_label():
  split = make_split()
  with make_batches(split) as batches:
    batch = batches(0)
  assert {key: (value.dtype.name, value.shape[0]) for key, value in batch.items()} == {
    "images": ("uint8", 4), "tokens": ("int32", 4), "person_id": ("int32", 4)
  }  # fmt: skip
  images = split.caption_image[captions_of(batch, split)]
  assert batch["person_id"].tolist() == images.tolist()
  assert batch["images"][:, 0, 0, 0].tolist() == images.tolist()


def test_every_caption_is_read_once_per_epoch_in_a_new_order():
  split = make_split(num_images=6)  # 12 captions, 3 batches
  with make_batches(split) as batches:
    assert batches.steps_per_epoch == 3
    epochs = epochs_of(batches, split, 3)
  assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_an_epoch_omits_captions_that_do_not_fill_a_batch_and_another_epoch_reads_them():
  split = make_split(num_images=7)  # 14 captions, 3 batches of 4
  with make_batches(split) as batches:
    assert batches.steps_per_epoch == 3
    epochs = epochs_of(batches, split, 6)
  assert all(len(set(epoch)) == 12 for epoch in epochs)
  assert set().union(*epochs) == set(range(14))


def test_a_batch_depends_only_on_seed_and_step():
  split = make_split()
  with make_batches(split) as forward, make_batches(split) as random_access, make_batches(split, seed=1) as other:
    steps = [forward(step) for step in range(8)]
    for step in (5, 0, 7, 7, 3, 4, 6):
      assert_same(random_access(step), steps[step])
    assert any((other(step)["person_id"] != steps[step]["person_id"]).any() for step in range(3))


def test_an_image_is_read_once_for_all_its_captions_in_a_batch():
  split = make_split(num_images=6)
  with make_batches(split, sampler=sampler("images")) as batches:
    assert batches.steps_per_epoch == 3
    seen = []
    for step in range(3):
      batch = batches(step)
      images = batch["images"][:, 0, 0, 0]
      captions = captions_of(batch, split)
      assert split.caption_image[captions].tolist() == np.repeat(images, 2).tolist() == batch["person_id"].tolist()
      seen += captions
  assert sorted(seen) == list(range(12))


@pytest.mark.parametrize("kind", sampling.KINDS)
@pytest.mark.parametrize("examples", [[0, 1, 2, 3], [2, 3, 6, 7], [4, 5]])
def test_a_shard_contains_its_examples_of_the_batch_and_reads_no_other_image(examples, kind):
  split, images = recorded_split(num_images=9)
  make = functools.partial(make_batches, split, batch_size=8, sampler=sampler(kind), read_ahead=0)
  with make() as whole, make(shard=np.array(examples)) as part:
    for step in range(6):
      expected = whole(step)
      per_image = 8 // len(expected["images"])
      images.indices.clear()
      shard = part(step)
      assert len(np.concatenate(images.indices)) == len(examples) // per_image
      assert_same(
        shard,
        {
          "images": expected["images"][np.array(examples)[::per_image] // per_image],
          **{key: expected[key][examples] for key in ("tokens", "person_id")},
        },
      )


def test_captions_are_padded_to_the_smallest_length_that_fits_the_longest():
  split = make_split(num_images=20, longest=9)
  with make_batches(split, batch_size=2) as batches:
    seen = set()
    for step in range(batches.steps_per_epoch):
      tokens = batches(step)["tokens"]
      longest = int(tokenizer.token_lengths(tokens).max())
      assert tokens.shape[1] == min(length for length in LENGTHS if length >= longest)
      assert (tokens == tokenizer.END).any(axis=1).all()
      seen.add(tokens.shape[1])
  assert seen == set(LENGTHS)


def test_steps_after_the_last_epoch_are_an_error():
  with make_batches(make_split(), num_epochs=2) as batches:
    assert batches.num_steps == 6
    batches(5)
    for step in (6, -1):
      with pytest.raises(ValueError, match=f"step {step} is not among"):
        batches(step)


def test_a_batch_size_above_the_number_of_captions_is_an_error():
  with pytest.raises(ValueError, match="batch_size 15 is more than the 14 captions of cuhk_pedes train"):
    make_batches(make_split(), batch_size=15)


@pytest.mark.parametrize("lengths", [(), (8, 4, 77), (4, 8), (77, 77), (0, 77)])
def test_caption_lengths_that_do_not_ascend_to_77_are_an_error(lengths):
  with pytest.raises(ValueError, match="caption_lengths must be ascending and end with 77"):
    loader.Batches(make_split(), 4, seed=0, caption_lengths=lengths)


class RecordedImages:
  """Images that record the thread and indices of each read, and that fail on request."""

  def __init__(self, images):
    self.images = images
    self.reads, self.indices = [], []
    self.fails = False
    self.read = threading.Condition()

  def __len__(self):
    return len(self.images)

  def __getitem__(self, indices):
    with self.read:
      self.reads.append(threading.current_thread())
      self.indices.append(indices)
      fails = self.fails  # the value at this read, as a waiting test may change it next
      self.read.notify_all()
    if fails:
      raise OSError("disk is gone")
    return self.images[indices]

  def wait_for(self, num_reads):
    with self.read:
      assert self.read.wait_for(lambda: len(self.reads) >= num_reads, timeout=60)


def recorded_split(**sizes):
  split = make_split(**sizes)
  images = RecordedImages(split.images)
  return splits.Split(**{**vars(split), "images": images}), images


def test_another_thread_reads_ahead_the_requested_number_of_steps():
  split, images = recorded_split()
  with make_batches(split, read_ahead=2) as batches:
    for step in range(3):
      batches(step)
      assert list(batches._read._waiting) == [step + 1, step + 2]
      images.wait_for(step + 3)
  assert len(images.reads) == 5
  assert threading.current_thread() not in images.reads


def test_a_jump_to_another_step_discards_what_was_read_ahead():
  with make_batches(make_split(), read_ahead=2) as batches:
    for step in (0, 7, 100):
      batches(step)
      assert list(batches._read._waiting) == [step + 1, step + 2]


def test_reading_ahead_stops_at_the_last_step():
  split, images = recorded_split()
  with make_batches(split, read_ahead=5, num_epochs=1) as batches:
    batches(0)
    images.wait_for(3)
  assert len(images.reads) == 3


def test_closing_ends_the_read_ahead_thread():
  split, images = recorded_split()
  with make_batches(split) as batches:
    batches(0)
  assert not any(thread.is_alive() for thread in images.reads)


def test_an_error_in_the_read_ahead_thread_is_raised_at_its_step():
  split, images = recorded_split()
  with make_batches(split, read_ahead=1) as batches:
    batches(0)
    images.wait_for(2)
    images.fails = True
    batches(1)  # read before the failure
    with pytest.raises(OSError, match="disk is gone"):
      batches(2)


@pytest.mark.parametrize("num_images", [8, 9, 3])
def test_evaluation_reads_each_image_once_and_pads_the_last_batch(num_images):
  split = make_split(num_images)
  seen, result = [], np.full(num_images, -1)
  for batch in loader.image_batches(split, 4):
    assert batch["images"].shape == (4, 2, 3, 3)
    seen += batch["indices"][batch["is_valid"]].tolist()
    assert (batch["indices"][~batch["is_valid"]] == num_images - 1).all()
    result[batch["indices"]] = batch["images"][:, 0, 0, 0]
  assert seen == list(range(num_images))
  assert result.tolist() == list(range(num_images))


def test_evaluation_reads_each_caption_once_in_order_of_length():
  split = make_split(num_images=11, longest=9)
  seen, widths = [], []
  for batch in loader.caption_batches(split, 4, LENGTHS):
    length = batch["tokens"].shape[1]
    np.testing.assert_array_equal(batch["tokens"], split.tokens[batch["indices"], :length])
    assert not split.tokens[batch["indices"], length:].any()
    seen += batch["indices"][batch["is_valid"]].tolist()
    widths.append(length)
  assert sorted(seen) == list(range(22))
  assert widths == sorted(widths)
  assert set(widths) == set(LENGTHS)


def test_a_shard_of_an_evaluation_batch_contains_its_examples():
  split = make_split(num_images=9)
  for make, field in (
    (lambda **kw: loader.image_batches(split, 4, **kw), "images"),
    (lambda **kw: loader.caption_batches(split, 4, LENGTHS, **kw), "tokens"),
  ):
    for whole, shard in zip(make(), make(shard=np.array([1, 3])), strict=True):
      np.testing.assert_array_equal(shard[field], whole[field][[1, 3]])
      np.testing.assert_array_equal(shard["indices"], whole["indices"])
      np.testing.assert_array_equal(shard["is_valid"], whole["is_valid"])


def test_closing_an_evaluation_iterator_early_ends_its_thread():
  split, images = recorded_split()
  batches = loader.image_batches(split, 2)
  next(batches)
  batches.close()
  assert not any(thread.is_alive() for thread in images.reads)
