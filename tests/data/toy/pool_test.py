"""The pre-training pool: determinism, breadth of the captions, and a folder that a killed run continues."""

import numpy as np
import pytest

from tireid_jax.data import tokenizer
from tireid_jax.data.toy import pool
from tireid_jax.data.toy.pool import batches, entry, splits, store
from tireid_jax.data.toy.pool.drawings import DRAWINGS
from tireid_jax.errors import UserError


@pytest.fixture
def short_chunks(monkeypatch):
  monkeypatch.setattr(store, "CHUNK", 4)


def sample(index):
  return pool.sample_entry(np.random.default_rng([3, index]))


def test_a_picture_follows_from_its_entry_alone():
  for index in range(20):
    first = pool.render(sample(index), (96, 48))
    assert first.shape == (96, 48, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, pool.render(sample(index), (96, 48)))


def test_pictures_and_captions_can_be_drawn_without_the_pool(tmp_path, short_chunks):
  whole = store.write_pool(tmp_path, 10, 7, (32, 16))
  drawn = splits.open_held_out(store.DrawnPool(7, (32, 16)), "test", 3)
  expected = splits.open_held_out(whole, "test", 3)
  np.testing.assert_array_equal(drawn.images, expected.images)
  np.testing.assert_array_equal(drawn.tokens, expected.tokens)
  assert drawn.captions == expected.captions


def test_every_object_shows_on_its_ground():
  empty = {"style": "flat", "detail": 0, "ground": "teal"}
  plain = pool.render(empty, (48, 24))
  for name in DRAWINGS:
    thing = {"name": name, "x": 0.5, "y": 0.5, "size": 0.8, "mirror": False, "colour": "red"}
    changed = np.any(pool.render({**empty, "things": [thing]}, (48, 24)) != plain, axis=-1)
    assert changed.sum() > 30, name


def test_every_style_draws_differently():
  thing = {"name": "cat", "x": 0.5, "y": 0.5, "size": 0.8, "mirror": False, "colour": "red"}
  shown = {"detail": 0, "ground": "teal", "things": [thing]}
  pictures = {pool.render({**shown, "style": style}, (48, 24)).tobytes() for style in entry.STYLES}
  assert len(pictures) == len(entry.STYLES)


def test_a_doll_shows_what_its_person_wears_and_carries():
  person = next(data for index in range(99) for data in sample(index).get("people", []) if "bag" in data["attributes"])
  shown = {"style": "flat", "detail": 0, "ground": "teal", "people": [{**person, "is_doll": True, "view": "back"}]}
  colours = [name for name in person["paint"] if name not in ("skin", "pattern_colour", "under_colour", "held_colour")]
  before = pool.render(shown, (96, 48))
  for name in colours:
    shown["people"][0]["paint"] = {**person["paint"], name: [1, 2, 3]}
    assert np.any(pool.render(shown, (96, 48)) != before), name


def test_captions_fit_have_hundreds_of_distinct_tokens_and_vary():
  tokens = tokenizer.tokenize([pool.caption(sample(index), np.random.default_rng(index)) for index in range(1500)])
  assert len(np.unique(tokens)) > 700
  assert tokenizer.token_lengths(tokens).max() < 77  # none was truncated
  assert len({pool.caption(sample(0), np.random.default_rng(index)) for index in range(10)}) > 5


def test_only_words_that_the_pool_lacks_are_reported():
  assert pool.words_never_used(["A man in blue trousers, xylophonic."], num=300) == ["xylophonic"]


def test_the_relation_in_a_caption_holds_in_the_picture():
  shown = {"kind": "relation", "style": "flat", "ground": "white", "relation": "left", "detail": 0}
  things = [{"name": "square", "colour": colour, "x": x, "y": 0.5, "size": 0.3, "mirror": False}
            for colour, x in (("red", 0.27), ("blue", 0.74))]  # fmt: skip
  picture = pool.render({**shown, "things": things}, (96, 48))
  red, blue = picture[48, 13], picture[48, 35]
  assert red[0] > 150 > red[2]
  assert blue[2] > 150 > blue[0]


def test_a_killed_pool_is_continued_to_the_same_bits(tmp_path, short_chunks):
  whole = store.write_pool(tmp_path / "whole", 10, 5, (32, 16))
  broken = tmp_path / "broken"
  store.write_pool(broken, 10, 5, (32, 16))
  (broken / "entries_0000004.jsonl").unlink()
  with pytest.raises(UserError, match="unfinished"):
    store.open_pool(broken)
  again = store.write_pool(broken, 10, 5, (32, 16))
  assert len(again) == len(whole) == 10
  for index in range(10):
    np.testing.assert_array_equal(again.image(index), whole.image(index))
    assert again.caption(index, 1) == whole.caption(index, 1)
  assert any(whole.caption(index, 0) != whole.caption(index, 1) for index in range(10))


def test_several_processes_draw_the_same_pictures(tmp_path, short_chunks):
  one, two = (store.write_pool(tmp_path / f"by{count}", 6, 5, (32, 16), processes=count) for count in (1, 2))
  for index in range(6):
    np.testing.assert_array_equal(one.image(index), two.image(index))


def test_batches_follow_from_the_step_alone_and_take_every_picture_once_in_a_pass(tmp_path, short_chunks):
  split = splits.train_split(store.write_pool(tmp_path, 12, 5, (32, 16)), num_held_out=2)
  options = {"seed": 1, "epoch_size": 8, "num_epochs": 8, "caption_lengths": (77,)}
  with batches.PoolBatches(split, 4, **options) as forward:
    taken = [forward(step) for step in range(4)]
  with batches.PoolBatches(split, 4, read_ahead=0, **options) as backward:
    again = [backward(step) for step in reversed(range(4))][::-1]
    shown = backward.examples(2)
  for first, second in zip(taken, again, strict=True):
    for name in first:
      np.testing.assert_array_equal(first[name], second[name])
  labels = np.concatenate([batch["person_id"] for batch in taken])
  assert sorted(labels[:8]) == sorted(labels[8:]) == list(range(8))
  np.testing.assert_array_equal(taken[2]["images"][0], split.pool.image(4 + labels[8]))
  assert shown == [{"caption": 1, "image": str(4 + label)} for label in labels[8:12]]
  tokens = np.concatenate([batch["tokens"] for batch in taken])
  before, after = (tokens[:8][np.argsort(labels[:8])], tokens[8:][np.argsort(labels[8:])])
  assert (before != after).any(axis=1).sum() > 4  # most captions are new in the second pass


def test_a_shard_holds_its_examples_padded_like_the_whole_batch(tmp_path, short_chunks):
  split = splits.train_split(store.write_pool(tmp_path, 12, 5, (32, 16)), num_held_out=2)
  options = {"seed": 1, "epoch_size": 8, "num_epochs": 1, "caption_lengths": (20, 40, 77), "read_ahead": 0}
  whole = batches.PoolBatches(split, 8, **options)(0)
  part = batches.PoolBatches(split, 8, shard=slice(4, 6), **options)(0)
  for name in whole:
    np.testing.assert_array_equal(part[name], whole[name][4:6])


def test_held_out_pictures_are_not_for_training(tmp_path, short_chunks):
  opened = store.write_pool(tmp_path, 12, 5, (32, 16))
  val, test = (splits.open_held_out(opened, name, 2) for name in ("val", "test"))
  assert (val.file_paths, test.file_paths, splits.train_split(opened, 2).first) == (["0", "1"], ["2", "3"], 4)
  np.testing.assert_array_equal(test.images[1], opened.image(3))
  assert test.captions[2:] == [opened.caption(3, 0), opened.caption(3, 1)]
  assert test.caption_image.tolist() == [0, 0, 1, 1]
  np.testing.assert_array_equal(test.tokens, tokenizer.tokenize(test.captions))


def test_a_folder_of_other_contents_is_refused(tmp_path, short_chunks):
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="holds no pool"):
    store.write_pool(tmp_path, 4, 0, (32, 16))
  assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
  store.write_pool(tmp_path / "pool", 4, 0, (32, 16))
  with pytest.raises(UserError, match="give the same values"):
    store.write_pool(tmp_path / "pool", 4, 1, (32, 16))
