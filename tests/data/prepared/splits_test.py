"""Prepared splits: labels, held-out identities, images in memory or read per record, and helpful errors."""

import shutil

import numpy as np
import pytest

from tests.data import trees
from tireid_jax.data import prepare
from tireid_jax.data.prepared import split_files, splits

SIZE = (24, 16)
NUM_IDS = {"train": 6, "val": 3, "test": 3}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("prepared")
  for name in ("cuhk_pedes", "icfg_pedes"):
    trees.make_tree(folder / "raw", name, num_ids=NUM_IDS)
    prepare.prepare(name, folder / "raw", folder / "data", SIZE, show_progress=False)
  return folder / "data"


def test_training_labels_number_identities_in_order_and_other_labels_are_the_ids(data_dir):
  train = splits.open_split(data_dir, "cuhk_pedes", SIZE, "train")
  assert train.num_identities == 6
  assert train.labels.tolist() == [identity - 1 for identity in train.person_id]  # CUHK counts from 1
  test = splits.open_split(data_dir, "cuhk_pedes", SIZE, "test")
  assert test.labels.tolist() == test.person_id.tolist()
  assert set(test.labels) == {10, 11, 12}


def test_labels_have_no_gaps_even_if_identities_have(data_dir):
  train = splits.open_split(data_dir, "icfg_pedes", SIZE, "train", val_identities=3, seed=1)
  assert set(train.labels) == {0, 1, 2}
  assert max(train.person_id) > 2
  order = np.argsort(train.person_id)
  assert (np.diff(train.labels[order]) >= 0).all()


@pytest.mark.parametrize("indices", [[3, 0, 3], np.array([5]), slice(2, 7), slice(None)])
def test_images_read_per_record_equal_those_in_memory(data_dir, indices):
  in_memory = splits.open_split(data_dir, "cuhk_pedes", SIZE, "train")
  by_record = splits.open_split(data_dir, "cuhk_pedes", SIZE, "train", in_memory_bytes=0)
  assert isinstance(in_memory.images, np.ndarray)
  assert isinstance(by_record.images, split_files.RecordImages)
  assert by_record.images.shape == in_memory.images.shape
  assert len(by_record.images) == 16
  np.testing.assert_array_equal(by_record.images[indices], in_memory.images[indices])


def test_the_memory_limit_counts_bytes_of_pixels(data_dir):
  size = 16 * 24 * 16 * 3
  for limit, kind in ((size, np.ndarray), (size - 1, split_files.RecordImages)):
    split = splits.open_split(data_dir, "cuhk_pedes", SIZE, "train", in_memory_bytes=limit)
    assert isinstance(split.images, kind)


@pytest.mark.parametrize("in_memory_bytes", [0, 2**30])
def test_all_images_and_captions_of_held_out_identities_move_from_train_to_val(data_dir, in_memory_bytes):
  whole = splits.open_split(data_dir, "icfg_pedes", SIZE, "train")
  settings = {"val_identities": 2, "seed": 0, "in_memory_bytes": in_memory_bytes}
  train = splits.open_split(data_dir, "icfg_pedes", SIZE, "train", **settings)
  val = splits.open_split(data_dir, "icfg_pedes", SIZE, "val", **settings)
  assert (train.num_identities, val.num_identities) == (4, 2)
  assert set(train.person_id) | set(val.person_id) == set(whole.person_id)
  assert val.labels.tolist() == val.person_id.tolist()

  def examples(split):
    """Returns the sorted (identity, path, pixels, caption, tokens) of all captions."""
    indices = split.caption_image
    columns = split.person_id[indices], [split.file_paths[i] for i in indices], split.images[indices], split.captions
    return sorted(
      (int(identity), path, image.tobytes(), caption, tokens.tobytes())
      for identity, path, image, caption, tokens in zip(*columns, split.tokens, strict=True)
    )

  assert sorted(examples(train) + examples(val)) == examples(whole)


def test_the_seed_selects_the_held_out_identities(data_dir):
  chosen = [
    frozenset(splits.open_split(data_dir, "icfg_pedes", SIZE, "val", val_identities=2, seed=seed).person_id)
    for seed in (0, 0, 1, 2, 3)
  ]
  assert chosen[0] == chosen[1]
  assert len(set(chosen)) > 1


def test_holding_out_identities_of_a_data_set_with_a_val_split_is_an_error(data_dir):
  with pytest.raises(ValueError, match="cuhk_pedes has a val split of its own"):
    splits.open_split(data_dir, "cuhk_pedes", SIZE, "train", val_identities=1)


@pytest.mark.parametrize("val_identities", [6, -1])
def test_holding_out_all_or_a_negative_number_of_identities_is_an_error(data_dir, val_identities):
  with pytest.raises(ValueError, match="must be from 0 to less than the 6 training identities"):
    splits.open_split(data_dir, "icfg_pedes", SIZE, "train", val_identities=val_identities)


@pytest.mark.parametrize(("split", "message"), [("val", "val_identities=N holds out"), ("query", "only train, test$")])
def test_an_unknown_split_is_an_error_that_lists_the_known_ones(data_dir, split, message):
  with pytest.raises(ValueError, match=message):
    splits.open_split(data_dir, "icfg_pedes", SIZE, split)


def test_data_that_is_not_prepared_is_an_error_with_the_command_and_the_prepared_sizes(data_dir):
  with pytest.raises(FileNotFoundError) as error:
    splits.open_split(data_dir, "cuhk_pedes", (384, 128), "train")
  assert str(error.value) == (
    f"cuhk_pedes at 384x128 is not prepared in {data_dir} (it is at 24x16); run "
    f"python -m tireid_jax.data.prepare --config=configs/cuhk.py --config.data_dir={data_dir} "
    f"'--config.data.image_size=(384,128)' --raw=DIR"
  )
  with pytest.raises(FileNotFoundError, match=r"^rstp_reid at 24x16 is not prepared in \S+; run .*configs/rstp.py"):
    splits.dataset_info(data_dir, "rstp_reid", SIZE)


def test_a_tokenizer_other_than_that_of_the_preparation_is_an_error_with_the_command(data_dir):
  openers = (
    lambda: splits.open_split(data_dir, "cuhk_pedes", SIZE, "train", tokenizer="some/words"),
    lambda: splits.check_split(data_dir, "cuhk_pedes", SIZE, "train", tokenizer="some/words"),
    lambda: splits.dataset_info(data_dir, "cuhk_pedes", SIZE, tokenizer="some/words"),
  )
  for opener in openers:
    with pytest.raises(ValueError) as error:
      opener()
    assert str(error.value) == (
      f"{splits.prepared_path(data_dir, 'cuhk_pedes', SIZE)} is prepared with the tokenizer of CLIP, but "
      f"config.data.tokenizer asks for some/words; remove that folder, or give another --config.data_dir, and run "
      f"python -m tireid_jax.data.prepare --config=configs/cuhk.py --config.data_dir={data_dir} "
      f"'--config.data.image_size=(24,16)' --config.data.tokenizer=some/words --raw=DIR"
    )


@pytest.mark.parametrize("largest", [65_535, 65_536, 250_000])
def test_the_index_can_store_ids_of_large_vocabularies(tmp_path, largest):
  tokens = np.array([[1, largest]], np.int32)
  split_files.write_index(tmp_path, "train", tokens=tokens, texts={"captions": ["a"]}, person_id=np.array([0]))
  np.testing.assert_array_equal(split_files.read_index(tmp_path, "train")["tokens"], tokens)


def test_an_index_that_does_not_match_the_records_is_detected(data_dir, tmp_path):
  shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
  folder = splits.prepared_path(tmp_path, "cuhk_pedes", SIZE)
  index = split_files.read_index(folder, "train")
  texts = {key: index.pop(key) for key in ("captions", "file_paths", "cameras", "times")}
  for change in (
    {"texts": texts | {"file_paths": texts["file_paths"][::-1]}},
    {"position": index["position"] + 1},
    {"person_id": index["person_id"][::-1]},
    {"person_id": index["person_id"][:-1]},
  ):
    split_files.write_index(folder, "train", **{"texts": texts} | index | change)
    with pytest.raises(ValueError, match=r"index and records of train .* do not belong together"):
      splits.open_split(tmp_path, "cuhk_pedes", SIZE, "train")


def test_a_truncated_record_file_is_an_error_that_names_it(data_dir, tmp_path):
  shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
  images = splits.open_split(tmp_path, "cuhk_pedes", SIZE, "train", in_memory_bytes=0).images
  file = next(splits.prepared_path(tmp_path, "cuhk_pedes", SIZE).glob("*-train.array_record*"))
  with file.open("r+b") as records:
    records.truncate(5000)
  with pytest.raises(ValueError, match=f"{file} ends early"):
    images[:]
