"""Preparing: the whole data set or nothing, once, from each of the three layouts."""

import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data import trees, vocabularies
from tireid_jax.data import builders, prepare, prepared, schema, tokenizer

SIZE = (24, 16)
REPOSITORY = pathlib.Path(__file__).parents[2]


def run_prepare(name, tmp_path, raw="raw", size=SIZE, data="data", **options):
  return prepare.prepare(name, tmp_path / raw, tmp_path / data, size, show_progress=False, **options)


def files_below(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("name", schema.LAYOUTS)
def test_each_layout_comes_out_as_its_entries_say(tmp_path, name):
  root = trees.make_tree(tmp_path / "raw", name)
  assert run_prepare(name, tmp_path) == tmp_path / "data" / name / "24x16" / schema.VERSION
  layout = schema.layout_of(name)
  for split_name in {entry["split"] for entry in trees.read_entries(root, name)}:
    entries = [entry for entry in trees.read_entries(root, name) if entry["split"] == split_name]
    split = prepared.open_split(tmp_path / "data", name, SIZE, split_name)
    assert split.file_paths == [entry[layout.path_key] for entry in entries]
    assert split.person_id.tolist() == [entry["id"] for entry in entries]
    pairs = [(row, caption) for row, entry in enumerate(entries) for caption in entry["captions"]]
    assert list(zip(split.caption_image.tolist(), split.captions, strict=True)) == pairs
    np.testing.assert_array_equal(split.tokens, tokenizer.tokenize([caption for _, caption in pairs]))
    for image, entry in zip(split.images[:], entries, strict=True):
      pil = (
        Image.open(root / "imgs" / entry[layout.path_key]).convert("RGB").resize((16, 24), Image.Resampling.BILINEAR)
      )
      np.testing.assert_array_equal(image, pil)


def test_the_info_counts_splits_and_captions_that_are_cut(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  first_test = next(entry for entry in entries if entry["split"] == "test")
  first_test["captions"][0] = "red " * 76  # one token more than there is room for
  first_test["captions"][1] = "red " * 75
  trees.write_annotations(root, "rstp_reid", entries)
  run_prepare("rstp_reid", tmp_path)
  info = prepared.dataset_info(tmp_path / "data", "rstp_reid", SIZE)
  assert info["counts"]["train"] == {"ids": 6, "images": 18, "captions": 36}
  assert info["truncated_captions"] == {"train": 0, "val": 0, "test": 1}
  assert info["first_id"] == 0
  assert info["libraries"].keys() >= {"pillow", "ftfy"}


def test_the_table_shows_published_counts_and_what_is_missing(tmp_path, capsys):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes", num_ids={"train": 2, "test": 1})
  prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE)
  lines = capsys.readouterr().out.splitlines()
  assert re.split(r"\s{2,}", lines[2]) == ["train", "2 (11,003)", "4 (34,054)", "9 (68,126)", "0"]
  assert any(re.fullmatch(r"val\s+missing", line) for line in lines)


def test_a_second_run_finds_it_done_and_decodes_nothing(tmp_path, monkeypatch, capsys):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  target = run_prepare("cuhk_pedes", tmp_path)
  before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
  monkeypatch.setattr(builders, "build", None)
  # Given the folder itself instead of the one above, it is the same data.
  assert prepare.prepare("cuhk_pedes", root, tmp_path / "data", SIZE) == target
  assert "prepared already" in capsys.readouterr().out
  assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


def test_the_same_data_has_the_same_fingerprint_and_other_data_another(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  for copy in ("one", "two"):
    prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / copy, SIZE, show_progress=False)
  root = trees.make_tree(tmp_path / "other", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  Image.new("RGB", (30, 60)).save(root / "imgs" / entries[0]["file_path"])
  prepare.prepare("cuhk_pedes", tmp_path / "other", tmp_path / "three", SIZE, show_progress=False)
  prints = [prepared.dataset_info(tmp_path / d, "cuhk_pedes", SIZE)["fingerprint"] for d in ("one", "two", "three")]
  assert prints[0] == prints[1] != prints[2]


def test_other_raw_data_does_not_replace_what_is_prepared(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  trees.make_tree(tmp_path / "other", "cuhk_pedes", seed=1)
  run_prepare("cuhk_pedes", tmp_path)
  before = prepared.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)
  with pytest.raises(ValueError, match="was prepared from other images or annotations, .*; remove that folder"):
    run_prepare("cuhk_pedes", tmp_path, raw="other")
  assert prepared.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE) == before


def test_the_chosen_tokenizer_makes_the_tokens_and_counts_what_is_cut(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  for entry in entries:
    entry["captions"] = ["red"]
  first_test = next(entry for entry in entries if entry["split"] == "test")
  first_test["captions"] = ["green " * 19, "green " * 18]  # four tokens a word for lack of merges: 78 and 74
  trees.write_annotations(root, "rstp_reid", entries)
  ids = vocabularies.make_tokenizer(tmp_path / "words")
  words = str(tmp_path / "words")
  run_prepare("rstp_reid", tmp_path, tokenizer=words)
  info = prepared.dataset_info(tmp_path / "data", "rstp_reid", SIZE, tokenizer=words)
  assert info["tokenizer"] == {"name": words, "vocabulary_size": 519, "end_token": 518}
  assert info["truncated_captions"] == {"train": 0, "val": 0, "test": 1}
  split = prepared.open_split(tmp_path / "data", "rstp_reid", SIZE, "test", tokenizer=words)
  tokens = split.tokens[split.captions.index("green " * 18)]
  green = [ids[token] for token in ("g", "re", "e", "n</w>")]
  assert tokens.tolist() == [517, *green * 18, 518, *[0] * 3]


def test_two_tokenizers_give_two_fingerprints_and_do_not_replace_each_other(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  # The same vocabulary but for the ids of two words that no caption has, and so the same tokens.
  for name, merges in (("one", ["x y</w>", "y x</w>"]), ("other", ["y x</w>", "x y</w>"])):
    vocabularies.make_tokenizer(tmp_path / name, merges)
  names = ["", *(str(tmp_path / name) for name in ("one", "other"))]
  prints = set()
  for data, name in zip("abc", names, strict=True):
    run_prepare("cuhk_pedes", tmp_path, data=data, tokenizer=name)
    prints.add(prepared.dataset_info(tmp_path / data, "cuhk_pedes", SIZE, tokenizer=name)["fingerprint"])
  assert len(prints) == 3
  with pytest.raises(ValueError, match="or with another tokenizer; remove that folder to prepare it anew"):
    run_prepare("cuhk_pedes", tmp_path, data="b", tokenizer=names[2])


def test_sizes_live_side_by_side(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  run_prepare("cuhk_pedes", tmp_path)
  run_prepare("cuhk_pedes", tmp_path, size=(384, 128))
  for size in (SIZE, (384, 128)):
    assert prepared.open_split(tmp_path / "data", "cuhk_pedes", size, "val").images.shape[1:3] == size


def test_a_killed_run_leaves_no_data_set_and_the_next_one_clears_up(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  script = f"""
import os, signal
from tireid_jax.data import builders, prepare
decode = builders.decode
def decode_and_die(file, size):
  if file.name == {trees.read_entries(root, "cuhk_pedes")[-1]["file_path"].split("/")[-1]!r}:
    os.kill(os.getpid(), signal.SIGKILL)
  return decode(file, size)
builders.decode = decode_and_die
prepare.prepare("cuhk_pedes", {str(root)!r}, {str(tmp_path / "data")!r}, {SIZE})
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, cwd=REPOSITORY)
  assert done.returncode == -signal.SIGKILL
  assert os.listdir(tmp_path / "data" / "cuhk_pedes") == [".preparing-24x16"]
  with pytest.raises(FileNotFoundError):
    prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  target = run_prepare("cuhk_pedes", tmp_path)
  assert os.listdir(tmp_path / "data" / "cuhk_pedes") == ["24x16"]
  untouched = prepare.prepare("cuhk_pedes", root, tmp_path / "again", SIZE, show_progress=False)
  assert files_below(target) == files_below(untouched)


def test_a_run_that_fails_at_its_last_step_leaves_nothing(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")

  def fail(*args, **kwargs):
    raise OSError("no space left on device")

  monkeypatch.setattr(prepare, "_complete", fail)
  with pytest.raises(OSError, match="no space left"):
    run_prepare("cuhk_pedes", tmp_path)
  assert files_below(tmp_path / "data") == []


def test_two_runs_at_once_do_not_mix(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  home = tmp_path / "data" / "cuhk_pedes"
  home.mkdir(parents=True)
  other = os.open(home, os.O_RDONLY)
  fcntl.flock(other, fcntl.LOCK_EX)
  with pytest.raises(ValueError, match="another process is preparing"):
    run_prepare("cuhk_pedes", tmp_path)
  os.close(other)
  run_prepare("cuhk_pedes", tmp_path)


def test_a_folder_that_is_no_prepared_set_is_left_alone(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  target = prepared.prepared_path(tmp_path / "data", "cuhk_pedes", SIZE)
  target.mkdir(parents=True)
  (target / "thesis.txt").write_text("mine")
  with pytest.raises(ValueError, match=r"holds no dataset\.json; remove that folder"):
    run_prepare("cuhk_pedes", tmp_path)
  assert (target / "thesis.txt").read_text() == "mine"


def _drop_data(root, entries):
  (root / "reid_raw.json").unlink()


def _drop_image(root, entries):
  (root / "imgs" / entries[0]["file_path"]).unlink()


def _spoil_image(root, entries):
  (root / "imgs" / entries[-1]["file_path"]).write_bytes(b"no image")


def _drop_captions(root, entries):
  entries[0]["captions"] = []


def _rename_split(root, entries):
  entries[0]["split"] = "training"


BAD = [
  (_drop_data, FileNotFoundError, "holds neither CUHK-PEDES/ with reid_raw.json"),
  (_drop_image, FileNotFoundError, "1 images that are not there: "),
  (_spoil_image, ValueError, "does not decode as an image"),
  (_drop_captions, ValueError, "has no caption"),
  (_rename_split, ValueError, "has the split 'training', not one of"),
]


@pytest.mark.parametrize(("spoil", "kind", "message"), BAD)
def test_bad_raw_data_is_one_line_and_nothing_is_written(tmp_path, spoil, kind, message):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  trees.write_annotations(root, "cuhk_pedes", entries)
  spoil(root, entries)
  if spoil in (_drop_captions, _rename_split):
    (root / "reid_raw.json").write_text(json.dumps(entries))
  with pytest.raises(kind, match=message) as error:
    run_prepare("cuhk_pedes", tmp_path)
  assert "\n" not in str(error.value)
  assert files_below(tmp_path / "data") == []


def test_a_tokenizer_that_is_not_there_is_an_error_before_anything_is_written(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  (tmp_path / "words").mkdir()
  with pytest.raises(FileNotFoundError, match="words holds no tokenizer"):
    run_prepare("cuhk_pedes", tmp_path, tokenizer=str(tmp_path / "words"))
  assert files_below(tmp_path / "data") == []


@pytest.mark.parametrize(("arguments", "missing"), [([], "--config"), (["--config=configs/cuhk.py"], "--raw")])
def test_the_command_says_which_flag_is_missing(arguments, missing):
  command = [sys.executable, "-m", "tireid_jax.data.prepare", *arguments]
  done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
  assert done.returncode == 2
  assert done.stderr.startswith(f"error: {missing} is missing; ")
  assert done.stderr.count("\n") == 1


def _command(tmp_path, *arguments):
  command = [sys.executable, "-m", "tireid_jax.data.prepare", "--config=configs/cuhk.py"]
  command += [f"--config.data_dir={tmp_path / 'data'}", "--config.data.image_size=(24,16)", *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def test_the_command_prepares_and_shows_its_progress(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  vocabularies.make_tokenizer(tmp_path / "words")
  done = _command(tmp_path, f"--raw={tmp_path / 'raw'}", f"--config.data.tokenizer={tmp_path / 'words'}")
  assert done.returncode == 0, done.stderr
  assert "30/30" in done.stderr
  assert "6 (11,003)" in done.stdout
  assert f"tokenizer {tmp_path / 'words'} with 519 ids" in done.stdout
  prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "test", tokenizer=str(tmp_path / "words"))


def test_the_command_answers_bad_data_with_one_line_and_status_2(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  spoilt = root / "imgs" / trees.read_entries(root, "cuhk_pedes")[0]["file_path"]
  spoilt.write_bytes(b"")
  done = _command(tmp_path, f"--raw={tmp_path / 'raw'}")
  assert done.returncode == 2
  errors = [line for line in done.stderr.splitlines() if "image/s" not in line]
  assert len(errors) == 1
  assert str(spoilt) in errors[0]
  assert files_below(tmp_path / "data") == []
