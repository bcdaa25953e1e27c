"""The synthetic data sets: files, reproducibility, agreement of captions with images, and attribute ceilings."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tireid_jax.data import toy
from tireid_jax.data.toy import attributes, camera, captions, domains, generic, oracle, palette, words, write

TINY = {"seed": 7, "num_train_ids": 3, "num_val_ids": 2, "num_test_ids": 2, "images_per_id": 2}
TINY_GENERIC = {"seed": 7, "num_train_images": 6, "num_eval_images": 3}
BACKPACK_WORDS = words.KIND_WORDS["backpack"]


@pytest.fixture(scope="module")
def pedes(tmp_path_factory):
  return toy.write_pedes(tmp_path_factory.mktemp("pedes"), **TINY, num_workers=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  return toy.write_generic(tmp_path_factory.mktemp("generic"), **TINY_GENERIC, num_workers=1)


@pytest.fixture(scope="module")
def shots():
  """(person, view, visible attributes, random generator for captions) of 180 images."""
  people = attributes.sample_people(3, {"train": 60, "val": 0, "test": 0})["train"]
  examples = []
  for number, person in enumerate(people):
    for shot, name in enumerate(("cam_a", "cam_d", "cam_f")):
      _, view, visible = camera.photograph(np.random.default_rng([number, shot]), person, camera.CAMERAS[name])
      examples.append((person, view, visible, np.random.default_rng([1, number, shot])))
  return examples


def read(folder, name="reid_raw.json"):
  return json.loads((folder / name).read_text())


def files(folder):
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_annotation_has_the_keys_of_cuhk_pedes_and_an_image_that_opens(pedes, plain):
  for folder in (pedes, plain):
    entries = read(folder)
    for entry in entries:
      assert list(entry) == ["split", "captions", "file_path", "processed_tokens", "id"]
      assert [len(words) for words in entry["processed_tokens"]] == [len(text.split()) for text in entry["captions"]]
      image = Image.open(folder / "imgs" / entry["file_path"])
      image.load()
      assert image.format == "JPEG"
      assert image.mode == "RGB"
    assert len({entry["file_path"] for entry in entries}) == len(entries) == len(list(folder.glob("imgs/*/*.jpg")))


def test_each_split_has_the_requested_images_and_identities(pedes, plain):
  ids = {split: [e["id"] for e in read(pedes) if e["split"] == split] for split in ("train", "val", "test")}
  assert ids == {"train": [1, 1, 2, 2, 3, 3], "val": [4, 4, 5, 5], "test": [6, 6, 7, 7]}
  assert [entry["id"] for entry in read(plain)] == list(range(1, 13))
  assert [entry["split"] for entry in read(plain)] == ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def test_no_two_persons_of_any_split_share_all_attributes():
  people = attributes.sample_people(0, {"train": 600, "val": 100, "test": 100})
  combinations = [tuple(sorted(person.attributes.items())) for split in people.values() for person in split]
  assert len(combinations) == len(set(combinations)) == 800


def test_a_repeated_combination_is_resampled(monkeypatch):
  draws = iter([{"gender": "man"}, {"gender": "man"}, {"gender": "woman"}, {"gender": "woman"}, {"gender": "boy"}])
  monkeypatch.setattr(attributes, "sample_attributes", lambda rng: next(draws))
  people = attributes.sample_people(0, {"train": 1, "val": 1, "test": 1})
  assert [people[split][0].attributes["gender"] for split in ("train", "val", "test")] == ["man", "woman", "boy"]


def test_the_files_depend_on_the_seed_and_not_on_the_number_of_processes(pedes, plain, tmp_path):
  again = toy.write_pedes(tmp_path, **TINY, num_workers=2)
  assert files(again) == files(pedes)
  assert files(toy.write_generic(tmp_path, **TINY_GENERIC, num_workers=2)) == files(plain)
  other = toy.write_pedes(tmp_path / "other", **{**TINY, "seed": 8}, num_workers=1)
  assert not set(files(other / "imgs").values()) & set(files(pedes / "imgs").values())


def test_an_image_does_not_depend_on_the_number_of_other_images(pedes, tmp_path):
  larger = toy.write_pedes(
    tmp_path, seed=7, num_train_ids=4, num_val_ids=2, num_test_ids=3, images_per_id=3, num_workers=1
  )
  small, large = ({e["split"]: e for e in reversed(read(folder))} for folder in (pedes, larger))
  for split in ("train", "val", "test"):  # the first image of the first person of each
    assert small[split]["captions"] == large[split]["captions"]
    images = [f / "imgs" / entry[split]["file_path"] for f, entry in ((pedes, small), (larger, large))]
    assert images[0].read_bytes() == images[1].read_bytes()


def test_no_two_images_share_a_random_stream(tmp_path, monkeypatch):
  states, photograph = [], domains.photograph

  def spy(rng, person, camera_):
    states.append(rng.bit_generator.state["state"]["state"])
    return photograph(rng, person, camera_)

  monkeypatch.setattr(domains, "photograph", spy)
  toy.write_pedes(tmp_path, **TINY, num_workers=1)
  assert len(set(states)) == len(states) == 14


def test_writing_again_with_the_same_settings_leaves_the_folder_untouched(pedes, plain):
  def times(folder):
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}

  before = times(pedes), times(plain)
  toy.write_pedes(pedes.parent, **TINY)
  toy.write_generic(plain.parent, **TINY_GENERIC)
  assert (times(pedes), times(plain)) == before


def test_writing_again_with_other_settings_is_an_error_that_names_them(pedes, plain):
  before = files(pedes)
  with pytest.raises(ValueError, match=r"images_per_id 2 \(now 3\)"):
    toy.write_pedes(pedes.parent, **{**TINY, "images_per_id": 3})
  with pytest.raises(ValueError, match=r"seed 7 \(now 8\)"):
    toy.write_generic(plain.parent, **{**TINY_GENERIC, "seed": 8})
  assert files(pedes) == before


def test_a_folder_that_was_not_written_by_the_generator_is_an_error(tmp_path):
  (tmp_path / "ToyPEDES").mkdir()
  (tmp_path / "ToyPEDES" / "notes.txt").write_text("mine")
  with pytest.raises(ValueError, match="was not written by"):
    toy.write_pedes(tmp_path, **TINY, num_workers=1)
  assert (tmp_path / "ToyPEDES" / "notes.txt").read_text() == "mine"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
  monkeypatch.setattr(write, "describe", lambda *args, **kwargs: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    toy.write_pedes(tmp_path, **TINY, num_workers=1)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"images_per_id": 0}, {"num_test_ids": -1}, {"seed": -1}])
def test_invalid_sizes_are_an_error(tmp_path, change):
  with pytest.raises(ValueError, match=f"{next(iter(change))} of the synthetic data is"):
    toy.write_pedes(tmp_path, **{**TINY, **change})
  assert list(tmp_path.iterdir()) == []


def test_captions_without_noise_mention_only_visible_attributes_correctly(shots):
  for person, view, visible, rng in shots:
    text, mentioned = captions.describe(rng, person, view, visible, noise=0.0)
    assert mentioned.keys() <= visible
    assert mentioned.items() <= person.attributes.items()
    assert captions.MIN_WORDS <= len(text.split()) <= captions.MAX_WORDS


def test_a_backpack_is_mentioned_from_behind_and_never_from_the_front(shots):
  front = back = 0
  for person, view, visible, rng in shots:
    if person.attributes.get("bag") != "backpack":
      continue
    for _ in range(4):
      text, _ = captions.describe(rng, person, view, visible, noise=0.0)
      is_mentioned = any(word in text for word in BACKPACK_WORDS)
      front += view == "front"
      back += view == "back" and is_mentioned
      assert not (view == "front" and ("bag" in visible or is_mentioned)), text
  assert front > 20  # enough images from the front were tested
  assert back > 20


def test_a_logo_is_visible_only_from_the_front(shots):
  views = {
    view for person, view, visible, _ in shots if person.attributes["pattern"] == "logo" and "pattern" in visible
  }
  assert views == {"front"}


def test_an_occluding_passer_by_is_not_counted_as_part_of_the_person(monkeypatch):
  person = attributes.sample_people(0, {"train": 1, "val": 0, "test": 0})["train"][0]
  monkeypatch.setattr(camera, "OBSTACLE_PROBABILITY", 1.0)
  monkeypatch.setattr(
    camera, "draw_obstacle", lambda canvas, rng, light: camera.draw_passer_by(canvas, rng, before=True, light=1)
  )
  seen = []
  monkeypatch.setattr(
    camera, "visible_attributes", lambda p, v, areas, unhidden: seen.append((areas, unhidden)) or frozenset()
  )
  for number in range(20):
    camera.photograph(np.random.default_rng(number), person, camera.CAMERAS["cam_a"])
  assert all(areas[part] <= unhidden[part] for areas, unhidden in seen for part in areas if part != "other")
  assert any(areas["top"] < unhidden["top"] for areas, unhidden in seen)


def test_noise_changes_about_its_fraction_of_mentioned_attributes(shots):
  num_wrong, num_mentioned = 0, 0
  for person, view, visible, rng in shots:
    _, mentioned = captions.describe(rng, person, view, visible, noise=0.3)
    num_mentioned += len(mentioned)
    num_wrong += sum(person.attributes[name] != value for name, value in mentioned.items())
  # Below 0.3, because gender is mistaken less often and some values have no similar value.
  assert 0.15 < num_wrong / num_mentioned < 0.32


def test_captions_vary_in_length_and_wording(shots):
  texts = [captions.describe(rng, person, view, visible)[0] for person, view, visible, rng in shots]
  lengths = [len(text.split()) for text in texts]
  assert min(lengths) < 16
  assert max(lengths) > 30
  assert len({text.split()[1] for text in texts}) > 10


def test_generic_captions_are_short_and_name_a_colour():
  synonyms = [phrase for phrases in (words.COLOUR_WORDS | words.SHADE_WORDS).values() for phrase in phrases]
  colours = {*palette.COLOURS, *palette.HAIR_COLOURS, *" ".join(synonyms).split()} - {"dark", "light", "sky"}
  for number in range(60):
    data, texts = generic.draw_generic(np.random.default_rng(number), 2)
    assert Image.open(io.BytesIO(data)).size == (generic.WIDTH, generic.HEIGHT)
    assert all(len(text.split()) <= 32 for text in texts)
    assert all(colours & set(text.split()) for text in texts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_single_attribute_finds_the_person_in_15_of_100_queries(seed):
  people = attributes.sample_people(seed, {"train": 600, "val": 100, "test": 100})["test"]
  seen = [person.attributes for person in people for _ in range(4)]
  ids = [number for number in range(100) for _ in range(4)]
  names = {name for worn in seen for name in worn}
  assert len(names) == 19
  assert max(oracle.matching_rank1(seen, seen, ids, ids, [name]) for name in names) < 15


def test_the_oracle_resolves_ties_by_expectation():
  # Two persons in red (three images) and one in blue; the last query has no attributes, so all four images tie.
  gallery = [{"top_colour": "red"}, {"top_colour": "red"}, {"top_colour": "red"}, {"top_colour": "blue"}]
  queries = [{"top_colour": "red"}, {"top_colour": "blue"}, {}]
  ids = [1, 1, 2, 3]
  value = oracle.matching_rank1(queries, gallery, [1, 3, 2], ids, ["top_colour"])
  assert value == pytest.approx(100 * (2 / 3 + 1 + 1 / 4) / 3)


def test_the_oracle_counts_equal_attributes_but_not_attributes_missing_on_both_sides():
  gallery = [{"top_colour": "red", "hat": "cap"}, {"top_colour": "red"}, {"hat": "cap"}]
  query = [{"top_colour": "red", "hat": "cap"}, {"top_colour": "red"}]
  rank1 = oracle.matching_rank1(query, gallery, [1, 2], [1, 2, 3], ["hat", "top_colour"])
  assert rank1 == pytest.approx(100 * (1 + 1 / 2) / 2)


def test_ceilings_are_computed_from_the_written_folder_by_split_and_kind_of_query(tmp_path):
  def entry(number, person, split="test"):
    return {"split": split, "captions": ["a", "b"], "file_path": f"{number}.jpg", "processed_tokens": [], "id": person}

  worn = {"top": "coat", "top_colour": "red", "shoes_colour": "blue"}
  truth = {"attributes": worn, "visible": ["top", "top_colour"], "mentioned": [{"top": "coat"}, {"top": "shirt"}]}
  other = {
    "attributes": {**worn, "top": "shirt"},
    "visible": ["top", "top_colour"],
    "mentioned": [{}, {"top": "shirt"}],
  }
  (tmp_path / "reid_raw.json").write_text(json.dumps([entry(0, 1), entry(1, 2), entry(2, 3, "train")]))
  (tmp_path / "attributes.json").write_text(json.dumps({"0.jpg": truth, "1.jpg": other, "2.jpg": truth}))
  visible = toy.attribute_ceilings(tmp_path, "test")
  assert visible == {"all colours": 50, "all shapes": 100, "everything": 100, "top": 100, "top_colour": 50}
  mentioned = toy.attribute_ceilings(tmp_path, "test", query="mentioned")
  assert mentioned["top"] == pytest.approx(100 * (1 + 0 + 1 / 2 + 1) / 4)


def test_ceilings_report_missing_files_and_splits(tmp_path, pedes):
  with pytest.raises(FileNotFoundError, match=r"attributes\.json is missing"):
    toy.attribute_ceilings(tmp_path, "test")
  with pytest.raises(ValueError, match="no images in split 'dev'"):
    toy.attribute_ceilings(pedes, "dev")


def test_the_command_writes_both_data_sets(tmp_path, pedes):
  config = tmp_path / "config.py"
  config.write_text(
    "from ml_collections import ConfigDict\n"
    "def get_config():\n"
    "  return ConfigDict({'toy': {'seed': 7, 'num_train_ids': 3, 'num_val_ids': 2, 'num_test_ids': 2,\n"
    "    'images_per_id': 2, 'generic_train_images': 2, 'generic_eval_images': 1}})\n"
  )
  command = [sys.executable, "-m", "tireid_jax.data.toy", f"--config={config}", f"--to={tmp_path / 'raw'}"]
  subprocess.run(command, check=True, capture_output=True)
  assert files(tmp_path / "raw" / "ToyPEDES") == files(pedes)
  assert len(read(tmp_path / "raw" / "ToyGeneric")) == 4
  rejected = subprocess.run([*command, "--config.toy.seed=8"], capture_output=True, text=True)
  assert rejected.returncode == 2
  source, error = rejected.stderr.splitlines()
  assert source == f"--config: read {config}"
  assert "seed 7 (now 8)" in error
