"""Batches: a function of seed and step, every caption once per epoch, and any shard of them the same examples."""

import functools
import threading

import numpy as np
import pytest

from tireid_jax.data import loader, sampling, tokenizer
from tireid_jax.data.prepared import splits

LENGTHS = (6, 9, 77)


def make_split(num_images=7, captions_per_image=2, longest=6):
  """Returns a Split whose pixels are the image's row, and whose captions are as many words as their row asks for."""
  num_captions = num_images * captions_per_image
  captions = [f"{'red ' * (row % longest)}{row}" for row in range(num_captions)]
  rows = np.arange(num_images, dtype=np.uint8)
  return splits.Split(
    name="cuhk_pedes",
    split="train",
    images=np.broadcast_to(rows[:, None, None, None], (num_images, 2, 3, 3)),
    person_id=np.arange(num_images, dtype=np.int32) + 100,
    labels=np.arange(num_images, dtype=np.int32),
    num_identities=num_images,
    tokens=tokenizer.tokenize(captions),
    caption_image=np.repeat(np.arange(num_images, dtype=np.int32), captions_per_image),
    captions=captions,
    file_paths=[f"{row}.jpg" for row in rows],
    fingerprint="",
  )


def make_batches(split, batch_size=4, seed=0, **settings):
  return loader.Batches(split, batch_size, seed=seed, caption_lengths=LENGTHS, **settings)


def sampler(kind):
  return {"kind": kind, "captions_per_identity": 2, "captions_per_image": 2}


def captions_of(batch, split):
  """Returns the rows of the captions in a batch, found by their tokens."""
  length = batch["tokens"].shape[1]
  return [int(np.flatnonzero((split.tokens[:, :length] == tokens).all(axis=1))[0]) for tokens in batch["tokens"]]


def epochs_of(batches, split, num_epochs):
  """Returns the rows of the captions that each epoch takes, in order."""
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


def test_every_caption_comes_once_an_epoch_in_a_new_order():
  split = make_split(num_images=6)  # 12 captions, 3 batches
  with make_batches(split) as batches:
    assert batches.steps_per_epoch == 3
    epochs = epochs_of(batches, split, 3)
  assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_an_epoch_leaves_out_what_does_not_fill_a_batch_and_the_next_may_have_it():
  split = make_split(num_images=7)  # 14 captions, 3 batches of 4
  with make_batches(split) as batches:
    assert batches.steps_per_epoch == 3
    epochs = epochs_of(batches, split, 6)
  assert all(len(set(epoch)) == 12 for epoch in epochs)
  assert set().union(*epochs) == set(range(14))


def test_a_batch_depends_on_seed_and_step_alone():
  split = make_split()
  with make_batches(split) as forward, make_batches(split) as jumping, make_batches(split, seed=1) as other:
    steps = [forward(step) for step in range(8)]
    for step in (5, 0, 7, 7, 3, 4, 6):
      assert_same(jumping(step), steps[step])
    assert any((other(step)["person_id"] != steps[step]["person_id"]).any() for step in range(3))


def test_grouped_images_come_once_for_all_their_captions():
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
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [2, 3, 6, 7], [4, 5]])
def test_a_shard_of_a_batch_is_those_examples_and_no_other_image_is_read(rows, kind):
  split, images = recorded_split(num_images=9)
  make = functools.partial(make_batches, split, batch_size=8, sampler=sampler(kind), read_ahead=0)
  with make() as whole, make(shard=np.array(rows)) as part:
    for step in range(6):
      expected = whole(step)
      per_image = 8 // len(expected["images"])
      images.rows.clear()
      shard = part(step)
      assert len(np.concatenate(images.rows)) == len(rows) // per_image
      assert_same(
        shard,
        {
          "images": expected["images"][np.array(rows)[::per_image] // per_image],
          **{key: expected[key][rows] for key in ("tokens", "person_id")},
        },
      )


def test_captions_are_cut_to_the_least_length_that_holds_the_longest():
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


def test_steps_end_with_the_last_epoch():
  with make_batches(make_split(), num_epochs=2) as batches:
    assert batches.num_steps == 6
    batches(5)
    for step in (6, -1):
      with pytest.raises(ValueError, match=f"step {step} is not among"):
        batches(step)


def test_fewer_captions_than_a_batch_is_an_error():
  with pytest.raises(ValueError, match="batch_size 15 is more than the 14 captions of cuhk_pedes train"):
    make_batches(make_split(), batch_size=15)


@pytest.mark.parametrize("lengths", [(), (8, 4, 77), (4, 8), (77, 77), (0, 77)])
def test_lengths_that_do_not_ascend_to_the_tokens_are_an_error(lengths):
  with pytest.raises(ValueError, match="caption_lengths must be ascending and end with 77"):
    loader.Batches(make_split(), 4, seed=0, caption_lengths=lengths)


class Recorded:
  """Images that note which reads were made, in which thread, and fail when told to."""

  def __init__(self, images):
    self.images = images
    self.reads, self.rows = [], []
    self.fails = False
    self.read = threading.Condition()

  def __len__(self):
    return len(self.images)

  def __getitem__(self, rows):
    with self.read:
      self.reads.append(threading.current_thread())
      self.rows.append(rows)
      fails = self.fails  # as of this read, whatever who waits for it does next
      self.read.notify_all()
    if fails:
      raise OSError("disk is gone")
    return self.images[rows]

  def wait_for(self, num_reads):
    with self.read:
      assert self.read.wait_for(lambda: len(self.reads) >= num_reads, timeout=60)


def recorded_split(**sizes):
  split = make_split(**sizes)
  images = Recorded(split.images)
  return splits.Split(**{**vars(split), "images": images}), images


def test_the_next_steps_are_read_ahead_in_another_thread_and_no_further():
  split, images = recorded_split()
  with make_batches(split, read_ahead=2) as batches:
    for step in range(3):
      batches(step)
      assert list(batches._read._waiting) == [step + 1, step + 2]
      images.wait_for(step + 3)
  assert len(images.reads) == 5
  assert threading.current_thread() not in images.reads


def test_a_jump_drops_what_was_read_ahead():
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


def test_closing_ends_the_thread():
  split, images = recorded_split()
  with make_batches(split) as batches:
    batches(0)
  assert not any(thread.is_alive() for thread in images.reads)


def test_what_goes_wrong_in_the_thread_is_raised_at_its_step():
  split, images = recorded_split()
  with make_batches(split, read_ahead=1) as batches:
    batches(0)
    images.wait_for(2)
    images.fails = True
    batches(1)  # read before
    with pytest.raises(OSError, match="disk is gone"):
      batches(2)


@pytest.mark.parametrize("num_images", [8, 9, 3])
def test_evaluation_sees_each_image_once_and_fills_the_last_batch(num_images):
  split = make_split(num_images)
  seen, result = [], np.full(num_images, -1)
  for batch in loader.image_batches(split, 4):
    assert batch["images"].shape == (4, 2, 3, 3)
    seen += batch["indices"][batch["is_valid"]].tolist()
    assert (batch["indices"][~batch["is_valid"]] == num_images - 1).all()
    result[batch["indices"]] = batch["images"][:, 0, 0, 0]
  assert seen == list(range(num_images))
  assert result.tolist() == list(range(num_images))


def test_evaluation_sees_each_caption_once_short_ones_first():
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


def test_a_shard_of_an_evaluation_batch_is_those_examples():
  split = make_split(num_images=9)
  for make, field in (
    (lambda **kw: loader.image_batches(split, 4, **kw), "images"),
    (lambda **kw: loader.caption_batches(split, 4, LENGTHS, **kw), "tokens"),
  ):
    for whole, shard in zip(make(), make(shard=np.array([1, 3])), strict=True):
      np.testing.assert_array_equal(shard[field], whole[field][[1, 3]])
      np.testing.assert_array_equal(shard["indices"], whole["indices"])
      np.testing.assert_array_equal(shard["is_valid"], whole["is_valid"])


def test_leaving_evaluation_half_way_ends_its_thread():
  split, images = recorded_split()
  batches = loader.image_batches(split, 2)
  next(batches)
  batches.close()
  assert not any(thread.is_alive() for thread in images.reads)
