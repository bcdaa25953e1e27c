"""Samplers: exactly which captions an epoch contains; their order is a function of seed and step."""

import collections
import types

import numpy as np
import pytest

from tireid_jax.data import sampling

# Image of each caption, and identity of each image: images with 1 to 5 captions, identities with 1 to 7.
CAPTION_IMAGE = np.array([0, 0, 1, 1, 2, 3, 3, 3, 3, 3, 4, 4, 5, 5])
LABELS = np.array([0, 0, 1, 2, 2, 3])
CAPTION_LABELS = LABELS[CAPTION_IMAGE]


def make_sampler(kind, batch_size, seed=0, size=2):
  split = types.SimpleNamespace(
    name="cuhk_pedes", split="train", tokens=np.zeros((14, 77), np.int32), caption_image=CAPTION_IMAGE, labels=LABELS
  )
  return sampling.make_sampler(split, batch_size, seed, kind=kind, captions_per_identity=size, captions_per_image=size)


def epoch_of(sampler, epoch):
  """Returns i64[steps, batch_size]: the caption indices of each batch of an epoch."""
  steps = sampler.steps_per_epoch
  return np.stack([sampler(step) for step in range(epoch * steps, (epoch + 1) * steps)])


def test_the_order_of_captions_equals_that_of_earlier_versions():
  # So that results can be reproduced with a later version.
  assert epoch_of(make_sampler("captions", 4), 0).tolist() == [[0, 2, 11, 9], [1, 8, 13, 5], [4, 3, 12, 10]]
  assert epoch_of(make_sampler("captions", 4), 1).tolist() == [[5, 12, 3, 13], [7, 8, 11, 2], [4, 1, 10, 0]]
  assert epoch_of(make_sampler("captions", 4, seed=1), 0).tolist() == [[3, 5, 2, 9], [7, 10, 0, 8], [13, 12, 6, 11]]


def test_every_caption_is_sampled_once_per_epoch():
  sampler = make_sampler("captions", 7)
  assert [sorted(epoch_of(sampler, epoch).ravel()) for epoch in range(3)] == [list(range(14))] * 3


def test_a_batch_contains_equally_many_captions_of_each_of_its_identities():
  sampler = make_sampler("identities", 4)
  for step in range(20):
    first, second = CAPTION_LABELS[sampler(step)].reshape(2, 2)
    assert first[0] == first[1] != second[0] == second[1]


def test_every_identity_is_sampled_once_per_epoch_in_a_new_order():
  sampler = make_sampler("identities", 4)
  epochs = [CAPTION_LABELS[epoch_of(sampler, epoch)].ravel() for epoch in range(8)]
  assert [sorted(epoch) for epoch in epochs] == [[0, 0, 1, 1, 2, 2, 3, 3]] * 8
  assert len({tuple(epoch) for epoch in epochs}) > 1


def test_every_image_is_sampled_once_per_epoch_in_a_new_order():
  sampler = make_sampler("images", 6)
  epochs = [CAPTION_IMAGE[epoch_of(sampler, epoch)] for epoch in range(4)]
  for epoch in epochs:
    np.testing.assert_array_equal(epoch[:, ::2], epoch[:, 1::2])  # both captions of an image are adjacent
    assert sorted(epoch[:, ::2].ravel()) == list(range(6))
  assert len({tuple(epoch.ravel()) for epoch in epochs}) > 1


def test_an_epoch_omits_images_that_do_not_fill_a_batch():
  sampler = make_sampler("images", 8)
  assert sampler.steps_per_epoch == 1
  epochs = [set(CAPTION_IMAGE[epoch_of(sampler, epoch)].ravel()) for epoch in range(6)]
  assert {len(epoch) for epoch in epochs} == {4}
  assert set().union(*epochs) == set(range(6))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(("kind", "groups"), [("identities", CAPTION_LABELS), ("images", CAPTION_IMAGE)])
def test_successive_epochs_cycle_through_all_captions_of_a_group(kind, groups, size):
  # Each batch contains every group, so 70 epochs cycle at least 10 * size times through a group of at most 7 captions.
  num_groups = int(groups.max()) + 1
  sampler = make_sampler(kind, size * num_groups, size=size)
  counts = collections.Counter()
  for epoch in range(70):
    sampled = epoch_of(sampler, epoch).reshape(num_groups, size)
    for captions in sampled:
      num_captions = (groups == groups[captions[0]]).sum()
      assert len(set(captions)) == min(size, num_captions)
    counts.update(sampled.ravel().tolist())
  for group in range(num_groups):
    times = [counts[caption] for caption in np.flatnonzero(groups == group)]
    assert max(times) - min(times) <= 1
    assert sum(times) == 70 * size


@pytest.mark.parametrize("kind", sampling.KINDS)
def test_a_batch_depends_only_on_seed_and_step(kind):
  forward, random_access, other = make_sampler(kind, 4), make_sampler(kind, 4), make_sampler(kind, 4, seed=1)
  steps = [forward(step) for step in range(8)]
  for step in (5, 0, 7, 7, 3, 4, 6):
    np.testing.assert_array_equal(random_access(step), steps[step])
  assert any((other(step) != steps[step]).any() for step in range(8))


def test_the_seed_shuffles_the_captions_within_a_group():
  batches = [make_sampler("images", 30, seed, size=5)(0) for seed in range(20)]
  assert len({tuple(batch[CAPTION_IMAGE[batch] == 3]) for batch in batches}) > 10


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      {"kind": "image"},
      "sampler.kind is 'image' (did you mean 'images'?); it must be one of captions, identities",
    ),
    ({"captions_per_identity": 0}, "sampler.captions_per_identity is 0; it must be at least 1"),
    ({"captions_per_image": -1}, "sampler.captions_per_image is -1; it must be at least 1"),
    ({"kind": "images", "captions_per_image": 3}, "a multiple of the 3 captions each of sampler.kind=images"),
  ],
)
def test_invalid_settings_are_rejected(settings, message):
  with pytest.raises(ValueError) as error:
    sampling.check(8, **sampling.CAPTIONS | settings)
  assert message in str(error.value)


def test_a_batch_with_more_identities_than_the_split_is_rejected():
  with pytest.raises(ValueError, match="batch_size 10 with 2 captions of each takes 5 identities, more than the 4 of"):
    make_sampler("identities", 10)
