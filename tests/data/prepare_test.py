"""Preparation of the three published layouts and of custom data: the result, and that it is prepared only once."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data import trees, vocabularies
from tests.data.preparing import REPOSITORY, SIZE, files_below, run_command, run_prepare
from tireid_jax.data import prepare, tokenizer
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import builders, split_files, splits
from tireid_jax.data.raw import schema


@pytest.mark.parametrize("name", trees.NAMES)
def test_prepared_data_of_each_layout_matches_its_entries(tmp_path, name):
  root = trees.make_tree(tmp_path / "raw", name)
  assert run_prepare(name, tmp_path) == tmp_path / "data" / name / "24x16" / schema.VERSION
  layout = registry.layout_of(name)
  for split_name in {entry["split"] for entry in trees.read_entries(root, name)}:
    entries = [entry for entry in trees.read_entries(root, name) if entry["split"] == split_name]
    split = splits.open_split(tmp_path / "data", name, SIZE, split_name)
    assert split.file_paths == [entry[layout.path_key] for entry in entries]
    assert split.person_id.tolist() == [entry["id"] for entry in entries]
    pairs = [(index, caption) for index, entry in enumerate(entries) for caption in entry["captions"]]
    assert list(zip(split.caption_image.tolist(), split.captions, strict=True)) == pairs
    np.testing.assert_array_equal(split.tokens, tokenizer.tokenize([caption for _, caption in pairs]))
    for image, entry in zip(split.images[:], entries, strict=True):
      pil = (
        Image.open(root / "imgs" / entry[layout.path_key]).convert("RGB").resize((16, 24), Image.Resampling.BILINEAR)
      )
      np.testing.assert_array_equal(image, pil)


def test_the_info_counts_splits_and_truncated_captions(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  first_test = next(entry for entry in entries if entry["split"] == "test")
  first_test["captions"][0] = "red " * 76  # one token too many
  first_test["captions"][1] = "red " * 75
  trees.write_annotations(root, "rstp_reid", entries)
  run_prepare("rstp_reid", tmp_path)
  info = splits.dataset_info(tmp_path / "data", "rstp_reid", SIZE)
  assert info["counts"]["train"] == {"ids": 6, "images": 18, "captions": 36}
  assert info["truncated_captions"] == {"train": 0, "val": 0, "test": 1}
  assert info["libraries"].keys() >= {"pillow", "ftfy"}


def test_the_table_shows_published_counts_and_missing_splits(tmp_path, capsys):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes", num_ids={"train": 2, "test": 1})
  prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE)
  lines = capsys.readouterr().out.splitlines()
  train = next(line.split() for line in lines if line.startswith("train "))
  assert train == ["train", "2", "11,003", "4", "34,054", "9", "68,126"]
  assert "val is missing" in lines


def test_exif_orientation_is_applied_or_ignored_and_this_is_part_of_the_fingerprint(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entry = next(entry for entry in trees.read_entries(root, "cuhk_pedes") if entry["split"] == "test")
  file, exif = root / "imgs" / entry["file_path"], Image.Exif()
  exif[0x0112] = 6
  Image.open(file).save(file, exif=exif, quality=95)
  fingerprints, sizes = [], []
  for data, use_exif in (("upright", True), ("as_stored", False)):
    run_prepare("cuhk_pedes", tmp_path, data=data, use_exif=use_exif)
    split = splits.open_split(tmp_path / data, "cuhk_pedes", SIZE, "test")
    fingerprints.append(split.fingerprint)
    index = split.file_paths.index(entry["file_path"])
    pixels, picture = split.images[index], Image.open(file).convert("RGB")
    turned = picture.transpose(Image.Transpose.ROTATE_270) if use_exif else picture
    np.testing.assert_array_equal(pixels, turned.resize((16, 24), Image.Resampling.BILINEAR))
    sizes.append(turned.size)
  assert fingerprints[0] != fingerprints[1]
  assert sizes[0] == sizes[1][::-1]
  with pytest.raises(ValueError, match=r"data\.use_exif; remove that folder"):
    run_prepare("cuhk_pedes", tmp_path, data="upright", use_exif=False)


def test_a_second_run_finds_the_prepared_data_and_decodes_nothing(tmp_path, monkeypatch, capsys):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  target = run_prepare("cuhk_pedes", tmp_path)
  before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
  monkeypatch.setattr(builders, "build", None)
  # The data set's own folder is accepted as well as its parent.
  assert prepare.prepare("cuhk_pedes", root, tmp_path / "data", SIZE) == target
  assert "prepared already" in capsys.readouterr().out
  assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


def test_the_fingerprint_depends_on_the_content_of_the_data(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  for copy in ("one", "two"):
    prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / copy, SIZE, show_progress=False)
  root = trees.make_tree(tmp_path / "other", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  Image.new("RGB", (30, 60)).save(root / "imgs" / entries[0]["file_path"])
  prepare.prepare("cuhk_pedes", tmp_path / "other", tmp_path / "three", SIZE, show_progress=False)
  prints = [splits.dataset_info(tmp_path / d, "cuhk_pedes", SIZE)["fingerprint"] for d in ("one", "two", "three")]
  assert prints[0] == prints[1] != prints[2]


def test_different_raw_data_does_not_replace_prepared_data(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  trees.make_tree(tmp_path / "other", "cuhk_pedes", seed=1)
  run_prepare("cuhk_pedes", tmp_path)
  before = splits.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)
  with pytest.raises(ValueError, match="was prepared from other images or annotations, .*; remove that folder"):
    run_prepare("cuhk_pedes", tmp_path, raw="other")
  assert splits.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE) == before


def test_the_selected_tokenizer_produces_the_tokens_and_the_count_of_truncated_captions(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  for entry in entries:
    entry["captions"] = ["red"]
  first_test = next(entry for entry in entries if entry["split"] == "test")
  # There are no merges for this word, so it has four tokens: 78 and 74 in total.
  first_test["captions"] = ["green " * 19, "green " * 18]
  trees.write_annotations(root, "rstp_reid", entries)
  ids = vocabularies.make_tokenizer(tmp_path / "words")
  words = str(tmp_path / "words")
  run_prepare("rstp_reid", tmp_path, tokenizer=words)
  info = splits.dataset_info(tmp_path / "data", "rstp_reid", SIZE, tokenizer=words)
  assert info["tokenizer"] == {"name": words, "vocabulary_size": 519, "end_token": 518}
  assert info["truncated_captions"] == {"train": 0, "val": 0, "test": 1}
  split = splits.open_split(tmp_path / "data", "rstp_reid", SIZE, "test", tokenizer=words)
  tokens = split.tokens[split.captions.index("green " * 18)]
  green = [ids[token] for token in ("g", "re", "e", "n</w>")]
  assert tokens.tolist() == [517, *green * 18, 518, *[0] * 3]


def test_two_tokenizers_give_different_fingerprints_and_do_not_replace_each_other(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  # The vocabularies differ only in the ids of two words that no caption contains, so the tokens are equal.
  for name, merges in (("one", ["x y</w>", "y x</w>"]), ("other", ["y x</w>", "x y</w>"])):
    vocabularies.make_tokenizer(tmp_path / name, merges)
  names = ["", *(str(tmp_path / name) for name in ("one", "other"))]
  prints = set()
  for data, name in zip("abc", names, strict=True):
    run_prepare("cuhk_pedes", tmp_path, data=data, tokenizer=name)
    prints.add(splits.dataset_info(tmp_path / data, "cuhk_pedes", SIZE, tokenizer=name)["fingerprint"])
  assert len(prints) == 3
  with pytest.raises(
    ValueError, match=r"or with another tokenizer or data\.use_exif; remove that folder to prepare it again"
  ):
    run_prepare("cuhk_pedes", tmp_path, data="b", tokenizer=names[2])


def test_several_image_sizes_can_be_prepared_in_one_folder(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  run_prepare("cuhk_pedes", tmp_path)
  run_prepare("cuhk_pedes", tmp_path, size=(384, 128))
  for size in (SIZE, (384, 128)):
    assert splits.open_split(tmp_path / "data", "cuhk_pedes", size, "val").images.shape[1:3] == size


def test_a_missing_tokenizer_is_an_error_before_anything_is_written(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  (tmp_path / "words").mkdir()
  with pytest.raises(FileNotFoundError, match="words holds no tokenizer"):
    run_prepare("cuhk_pedes", tmp_path, tokenizer=str(tmp_path / "words"))
  assert files_below(tmp_path / "data") == []


@pytest.mark.parametrize(("arguments", "missing"), [([], "--config"), (["--config=configs/cuhk.py"], "--raw")])
def test_the_command_reports_which_flag_is_missing(arguments, missing):
  command = [sys.executable, "-m", "tireid_jax.data.prepare", *arguments]
  done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
  assert done.returncode == 2
  assert done.stderr.startswith(f"error: {missing} is missing; ")
  assert done.stderr.count("\n") == 1


def test_the_command_prepares_and_shows_its_progress(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  vocabularies.make_tokenizer(tmp_path / "words")
  done = run_command(tmp_path, f"--raw={tmp_path / 'raw'}", f"--config.data.tokenizer={tmp_path / 'words'}")
  assert done.returncode == 0, done.stderr
  assert "30/30" in done.stderr
  assert "train has counts that differ from the published ones" in done.stdout
  assert f"tokenizer {tmp_path / 'words'} with 519 ids" in done.stdout
  splits.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "test", tokenizer=str(tmp_path / "words"))


def test_the_info_contains_the_sizes_of_the_raw_images(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  files = [root / "imgs" / entry["file_path"] for entry in trees.read_entries(root, "cuhk_pedes")]
  sizes = [Image.open(file).size for file in files]
  run_prepare("cuhk_pedes", tmp_path)
  raw_sizes = splits.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)["report"]["image_sizes"]
  for side, values in (("width", [size[0] for size in sizes]), ("height", [size[1] for size in sizes])):
    assert (raw_sizes[side]["least"], raw_sizes[side]["most"]) == (min(values), max(values))
    assert raw_sizes[side]["median"] in values
  index = split_files.read_index(splits.prepared_path(tmp_path / "data", "cuhk_pedes", SIZE), "test")
  assert {tuple(size) for size in index["size"]} <= {size[::-1] for size in sizes}
  assert len(set(index["digest"])) == 7


def test_cameras_and_times_are_kept(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  read = schema.read_annotations

  def read_with_cameras(*args, **kwargs):
    records = read(*args, **kwargs)
    for index, record in enumerate(records):
      vars(record).update(camera=f"c{index % 3}", time=f"{index} Uhr")
    return records

  monkeypatch.setattr(schema, "read_annotations", read_with_cameras)
  run_prepare("cuhk_pedes", tmp_path)
  split = splits.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "val")
  records = [r for r in read(registry.layout_of("cuhk_pedes"), tmp_path / "raw") if r.split == "val"]
  assert split.file_paths == [record.file_path for record in records]
  assert len(split.cameras) == len(split.times) == len(records)
  assert set(split.cameras) == {"c0", "c1", "c2"}
  assert all(time.endswith(" Uhr") for time in split.times)


def test_the_report_is_stored_with_the_prepared_data(tmp_path, capsys):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  target = prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE)
  shown = capsys.readouterr().out
  assert (target / "report.txt").read_text() in shown
  assert "MiB on disk" in shown
  assert (target / "report.html").read_text().count("data:image/jpeg") >= 12
  prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE, page=tmp_path / "new/again.html")
  assert (target / "report.txt").read_text() in capsys.readouterr().out  # even though nothing was decoded
  assert (tmp_path / "new/again.html").read_bytes() == (target / "report.html").read_bytes()


def test_custom_data_is_prepared_as_its_config_says(tmp_path):
  raw = tmp_path / "raw"
  rng = np.random.default_rng(0)
  rows = ["picture,id,caption_1,caption_2,camera"]
  for number in range(12):
    trees.write_image(raw / "images" / f"{number}.jpg", rng)
    rows.append(f"{number}.jpg,person {number // 2},A red coat number {number}.,A blue hat here.,c{number % 2}")
  (raw / "annotations.csv").write_text("\n".join(rows))
  command = [sys.executable, "-m", "tireid_jax.data.prepare", "--config=configs/custom.py", f"--raw={raw}"]
  command += [f"--config.data_dir={tmp_path / 'data'}", "--config.data.image_size=(24,16)"]
  command += ["--config.custom.columns.image=picture", "--config.custom.test_share=0.34"]
  done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
  assert done.returncode == 0, done.stderr
  info = splits.dataset_info(tmp_path / "data", "custom", SIZE)
  assert {split: counts["ids"] for split, counts in info["counts"].items()} == {"train": 3, "val": 1, "test": 2}
  assert sorted(info["persons"].values()) == [f"person {number}" for number in range(6)]
  test = splits.open_split(tmp_path / "data", "custom", SIZE, "test")
  assert set(test.cameras) == {"c0", "c1"}
  assert len(test.captions) == 8
