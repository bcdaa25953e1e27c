"""Preparing: the whole data set or nothing, once, from each of the three layouts."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from tests.data import trees, vocabularies
from tireid_jax.data import builders, images, prepare, prepared, schema, shards, tokenizer

SIZE = (24, 16)
REPOSITORY = pathlib.Path(__file__).parents[2]


def run_prepare(name, tmp_path, raw="raw", size=SIZE, data="data", **options):
  return prepare.prepare(name, tmp_path / raw, tmp_path / data, size, show_progress=False, **options)


def files_below(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def contents(data_dir):
  """Returns {path: bytes} of what is prepared below a folder."""
  return {path: (data_dir / path).read_bytes() for path in files_below(data_dir) if (data_dir / path).is_file()}


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
  assert info["libraries"].keys() >= {"pillow", "ftfy"}


def test_the_table_shows_published_counts_and_what_is_missing(tmp_path, capsys):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes", num_ids={"train": 2, "test": 1})
  prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE)
  lines = capsys.readouterr().out.splitlines()
  train = next(line.split() for line in lines if line.startswith("train "))
  assert train == ["train", "2", "11,003", "4", "34,054", "9", "68,126"]
  assert "val is missing" in lines


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


def _prepare_apart(tmp_path, log, *, data="data", die_after=None):
  """Prepares in a process of its own, in shards of 4 images, which writes what it decodes to a file `log`.

  It kills itself after so many.
  """
  script = f"""
import os, signal
from tireid_jax.data import images, prepare, shards
shards.SHARD_BYTES = 4 * {SIZE[0] * SIZE[1] * 3}
os.cpu_count = lambda: 2  # so that no more than 8 images are decoded ahead of the shards
decode = images.decode
def decode_and_tell(file, size):
  with open({str(tmp_path / log)!r}, "a+") as decoded:
    if decoded.write(f"{{file.name}}\\n") and {die_after} and decoded.seek(0) == 0 and len(list(decoded)) > {die_after}:
      os.kill(os.getpid(), signal.SIGKILL)
  return decode(file, size)
images.decode = decode_and_tell
prepare.prepare("cuhk_pedes", {str(tmp_path / "raw")!r}, {str(tmp_path / data)!r}, {SIZE})
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
  return done, (tmp_path / log).read_text().split()


def test_a_killed_run_leaves_no_data_set_and_the_next_one_decodes_the_rest(tmp_path):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  done, _ = _prepare_apart(tmp_path, "first", die_after=17)
  assert done.returncode == -signal.SIGKILL
  assert os.listdir(tmp_path / "data" / "cuhk_pedes") == [".preparing-24x16"]
  with pytest.raises(FileNotFoundError):
    prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  shards_done = len(list((tmp_path / "data" / "cuhk_pedes" / ".preparing-24x16" / "shards").glob("*.json")))
  assert shards_done > 0
  done, decoded = _prepare_apart(tmp_path, "second")
  assert done.returncode == 0, done.stderr
  assert f"{4 * shards_done}/30" in done.stderr  # the bar begins there
  assert len(decoded) == len(set(decoded)) == 30 - 4 * shards_done
  assert os.listdir(tmp_path / "data" / "cuhk_pedes") == ["24x16"]
  _prepare_apart(tmp_path, "untouched", data="again")
  assert contents(tmp_path / "data") == contents(tmp_path / "again")


def test_of_a_killed_run_nothing_is_used_for_images_that_have_changed(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  _prepare_apart(tmp_path, "first", die_after=17)
  first = next(entry for entry in trees.read_entries(root, "cuhk_pedes") if entry["split"] == "train")
  Image.new("RGB", (16, 24), (1, 2, 3)).save(root / "imgs" / first["file_path"], quality=100)
  _prepare_apart(tmp_path, "second")
  split = prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  np.testing.assert_array_equal(split.images[:1], images.decode(root / "imgs" / first["file_path"], SIZE).pixels[None])
  assert split.file_paths[0] == first["file_path"]
  assert split.images[0].std() < 3


def test_an_interrupted_run_keeps_what_it_decoded(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")

  def interrupt(*args, **kwargs):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(builders, "build", interrupt)
    with pytest.raises(KeyboardInterrupt):
      run_prepare("cuhk_pedes", tmp_path)
  monkeypatch.setattr(images, "decode", None)
  run_prepare("cuhk_pedes", tmp_path)
  assert prepared.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)["counts"]["train"]["images"] == 16


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
  (_drop_image, ValueError, "1 missing image: .* is not there"),
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
  assert "train has other counts than the published ones" in done.stdout
  assert f"tokenizer {tmp_path / 'words'} with 519 ids" in done.stdout
  prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "test", tokenizer=str(tmp_path / "words"))


def test_the_command_answers_bad_data_with_one_line_and_status_2(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  (root / "imgs" / entries[0]["file_path"]).write_bytes(b"")
  done = _command(tmp_path, f"--raw={tmp_path / 'raw'}")
  assert done.returncode == 2
  errors = [line for line in done.stderr.splitlines() if "image/s" not in line]
  assert len(errors) == 1
  assert f"1 zero-size image: {entries[0]['file_path']} has 0 bytes. Mend them, or give --skip_bad" in errors[0]
  assert files_below(tmp_path / "data") == []


def spoil(root, entries, num):
  """Makes the images of the first entries unusable, a third each gone, empty and cut; returns their paths."""
  paths = [entry["file_path"] for entry in entries[:num]]
  for place, path in enumerate(paths):
    file = root / "imgs" / path
    if place % 3 == 0:
      file.unlink()
    else:
      file.write_bytes(file.read_bytes()[:-30] if place % 3 == 1 else b"")
  return paths


def test_every_bad_image_is_counted_and_ten_are_named(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  paths = spoil(root, trees.read_entries(root, "cuhk_pedes"), 12)
  with pytest.raises(ValueError) as error:
    run_prepare("cuhk_pedes", tmp_path)
  message = str(error.value)
  for counted in ("4 missing image", "4 truncated image", "4 zero-size image"):
    assert counted in message
  assert sum(path in message for path in paths) == 10
  assert "\n" not in message
  assert files_below(tmp_path / "data") == []


def test_skip_bad_leaves_them_out_and_records_which_and_why(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  entries = trees.read_entries(root, "cuhk_pedes")
  paths = spoil(root, entries, 3)
  entries[3]["captions"] = []
  trees.write_annotations(root, "cuhk_pedes", entries)
  done = _command(tmp_path, f"--raw={tmp_path / 'raw'}", "--skip_bad")
  assert done.returncode == 0, done.stderr
  assert "CUHK-PEDES: 4 errors, " in done.stdout
  for kind in ("no caption", "missing image", "truncated image", "zero-size image"):
    assert f"       1  {kind}: " in done.stdout
  assert "4 entries or images left out" in done.stdout
  info = prepared.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)
  assert len(info["left_out"]) == 4
  assert {"kind": "zero-size image", "place": paths[2], "detail": "has 0 bytes"} in info["left_out"]
  kept = [entry for entry in entries[4:] if entry["split"] == "train"]
  split = prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "train")
  assert split.file_paths == [entry["file_path"] for entry in kept]
  assert split.captions == [caption for entry in kept for caption in entry["captions"]]
  for image, entry in zip(split.images[:], kept, strict=True):
    np.testing.assert_array_equal(image, images.decode(root / "imgs" / entry["file_path"], SIZE).pixels)
  assert run_prepare("cuhk_pedes", tmp_path, skip_bad=True)
  with pytest.raises(ValueError, match="prepared with --skip_bad, and 4 entries or images were left out"):
    run_prepare("cuhk_pedes", tmp_path)


def test_a_shard_or_a_split_whose_images_are_all_bad_is_left_out_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "SHARD_BYTES", 2 * SIZE[0] * SIZE[1] * 3)
  root = trees.make_tree(tmp_path / "raw", "rstp_reid")
  entries = trees.read_entries(root, "rstp_reid")
  trains = [entry for entry in entries if entry["split"] == "train"]
  for entry in trains[2:4] + [entry for entry in entries if entry["split"] == "val"]:
    (root / "imgs" / entry["img_path"]).write_bytes(b"")
  run_prepare("rstp_reid", tmp_path, skip_bad=True)
  split = prepared.open_split(tmp_path / "data", "rstp_reid", SIZE, "train")
  assert split.file_paths == [entry["img_path"] for entry in trains[:2] + trains[4:]]
  assert "val" not in prepared.dataset_info(tmp_path / "data", "rstp_reid", SIZE)["counts"]
  for entry in entries:
    (root / "imgs" / entry["img_path"]).write_bytes(b"")
  with pytest.raises(ValueError, match="names no image that can be used: .* has 0 bytes"):
    run_prepare("rstp_reid", tmp_path, data="other", skip_bad=True)


def test_a_disk_that_is_too_full_is_an_error_before_anything_is_decoded(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  records = schema.read_annotations(schema.layout_of("cuhk_pedes"), tmp_path / "raw")
  needed = shards.Plan(records, SIZE, tmp_path / "none").num_bytes
  monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=needed - 1))
  with monkeypatch.context() as patch:
    patch.setattr(images, "decode", None)
    with pytest.raises(ValueError, match=r"preparing takes 0\.00 GiB, but the disk of .* has 0\.00 GiB; make room"):
      run_prepare("cuhk_pedes", tmp_path)
  assert files_below(tmp_path / "data") == []
  monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=needed))
  target = run_prepare("cuhk_pedes", tmp_path)
  assert sum(file.stat().st_size for file in target.iterdir()) < needed


def test_the_info_has_the_sizes_of_the_raw_images(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  files = [root / "imgs" / entry["file_path"] for entry in trees.read_entries(root, "cuhk_pedes")]
  sizes = [Image.open(file).size for file in files]
  run_prepare("cuhk_pedes", tmp_path)
  raw_sizes = prepared.dataset_info(tmp_path / "data", "cuhk_pedes", SIZE)["report"]["image_sizes"]
  for side, values in (("width", [size[0] for size in sizes]), ("height", [size[1] for size in sizes])):
    assert (raw_sizes[side]["least"], raw_sizes[side]["most"]) == (min(values), max(values))
    assert raw_sizes[side]["median"] in values
  index = prepared.read_index(prepared.prepared_path(tmp_path / "data", "cuhk_pedes", SIZE), "test")
  assert {tuple(size) for size in index["size"]} <= {size[::-1] for size in sizes}
  assert len(set(index["digest"])) == 7


def test_cameras_and_times_are_kept(tmp_path, monkeypatch):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  read = schema.read_annotations

  def read_with_cameras(*args, **kwargs):
    records = read(*args, **kwargs)
    for place, record in enumerate(records):
      vars(record).update(camera=f"c{place % 3}", time=f"{place} Uhr")
    return records

  monkeypatch.setattr(schema, "read_annotations", read_with_cameras)
  run_prepare("cuhk_pedes", tmp_path)
  split = prepared.open_split(tmp_path / "data", "cuhk_pedes", SIZE, "val")
  records = [r for r in read(schema.layout_of("cuhk_pedes"), tmp_path / "raw") if r.split == "val"]
  assert split.file_paths == [record.file_path for record in records]
  assert len(split.cameras) == len(split.times) == len(records)
  assert set(split.cameras) == {"c0", "c1", "c2"}
  assert all(time.endswith(" Uhr") for time in split.times)


def test_without_skip_bad_the_report_is_shown_and_its_page_written_and_nothing_else(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  paths = spoil(root, trees.read_entries(root, "cuhk_pedes"), 2)
  page = tmp_path / "page.html"
  done = _command(tmp_path, f"--raw={tmp_path / 'raw'}", f"--page={page}")
  assert done.returncode == 2
  assert "CUHK-PEDES: 2 errors, " in done.stdout
  assert all(path in page.read_text() for path in paths)
  assert files_below(tmp_path / "data") == []


def test_the_report_lies_with_the_prepared_data(tmp_path, capsys):
  trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  target = prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE)
  shown = capsys.readouterr().out
  assert (target / "report.txt").read_text() in shown
  assert "MiB on disk" in shown
  assert (target / "report.html").read_text().count("data:image/jpeg") >= 12
  prepare.prepare("cuhk_pedes", tmp_path / "raw", tmp_path / "data", SIZE, page=tmp_path / "new/again.html")
  assert (target / "report.txt").read_text() in capsys.readouterr().out  # though nothing was decoded
  assert (tmp_path / "new/again.html").read_bytes() == (target / "report.html").read_bytes()


def test_custom_data_is_prepared_by_its_config(tmp_path):
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
  info = prepared.dataset_info(tmp_path / "data", "custom", SIZE)
  assert {split: counts["ids"] for split, counts in info["counts"].items()} == {"train": 3, "val": 1, "test": 2}
  assert sorted(info["persons"].values()) == [f"person {number}" for number in range(6)]
  test = prepared.open_split(tmp_path / "data", "custom", SIZE, "test")
  assert set(test.cameras) == {"c0", "c1"}
  assert len(test.captions) == 8


def test_an_entry_that_became_bad_is_not_passed_over(tmp_path):
  root = trees.make_tree(tmp_path / "raw", "cuhk_pedes")
  run_prepare("cuhk_pedes", tmp_path)
  entries = trees.read_entries(root, "cuhk_pedes")
  trees.write_annotations(root, "cuhk_pedes", [*entries, {**entries[0], "split": "training"}])
  with pytest.raises(ValueError, match="was prepared from other images or annotations"):
    run_prepare("cuhk_pedes", tmp_path)
