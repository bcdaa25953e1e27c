"""python -m tireid_jax.search, as a user calls it."""

import json

import pytest

from tests.forked import run as run_command
from tests.search import searching


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """A folder with a run, a gallery and its index."""
  folder = tmp_path_factory.mktemp("project")
  searching.make_run(folder / "run")
  searching.make_pictures(folder / "gallery", ["a/<1>.png", "a/2.png", "b/3.png"])
  (folder / "gallery" / "bad.png").write_bytes(b"no image")
  done = search(folder, "--gallery=gallery", "--index_only")
  assert done.returncode == 0, done.stderr
  assert "skipped bad.png: does not decode as an image" in done.stderr
  assert "3 images (3 new, 0 changed, 0 removed, 1 unreadable)" in done.stderr
  return folder


def search(folder, *flags):
  return run_command("search", "--workdir=run", "--index=index", *flags, folder=folder)


def test_queries_from_a_file_are_answered_as_json_and_on_a_contact_sheet(project):
  (project / "queries.txt").write_text("a red coat\n\n./gallery/b/3.png\n")
  done = search(project, "--queries=queries.txt", "--top=2", "--json", "--html=sheet.html")
  assert done.returncode == 0, done.stderr
  first, second = json.loads(done.stdout)
  assert [len(first["results"]), first["query"], second["query"]] == [2, "a red coat", "./gallery/b/3.png"]
  assert [result["rank"] for result in second["results"]] == [1, 2]
  assert second["results"][0]["path"] == "b/3.png"
  sheet = (project / "sheet.html").read_text()
  assert sheet.count('<img src="data:image/jpeg;base64,') == 4
  assert "<1>" not in sheet


def test_a_table_has_rank_score_and_path(project):
  done = search(project, "--gallery=gallery", "--query=./gallery/b/3.png", "--filter=folder=b")
  lines = done.stdout.splitlines()
  assert lines[:2] == ["./gallery/b/3.png", "rank  score   path"]
  assert lines[2].split()[::2] == ["1", "b/3.png"]
  assert len(lines) == 3
  assert "0 new, 0 changed" in done.stderr


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--query= "], "the query is empty"),
    (["--query=x", "--config=configs/toy.py"], "run has its own config; leave --config out"),
    (["--query=x", "--top=0"], "--top=0 must be at least 1"),
    (["--index_only"], "give --gallery=DIR too"),
    (["--gallery=gallery/b/3.png", "--query=x"], "--gallery=gallery/b/3.png is a file"),
    (["--query=" + "red " * 99], "has 101 tokens, but this model reads 77; shorten it"),
    (["--query=x", "--html=none/x.html"], "there is no folder none"),
    (["--query=x", "--html=gallery"], "--html=gallery is a folder; give a file in it"),
    (["--query=x", "--dtype=float32"], "holds bfloat16, not float32"),
    (["--query=x", "--pretrained=CLIP"], "give either --workdir=DIR of a run, or --pretrained=CLIP"),
  ],
)
def test_bad_input_ends_with_one_line_and_status_2(project, flags, message):
  done = search(project, *flags)
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1].startswith("error: ")
  assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--pretrained=toy_clip", "--stage=1"], "--stage=1 is of a run; leave it out"),
    (["--pretrained=stage1"], "--config.pretrained=stage1 names a stage of a run; give the run as --workdir"),
  ],
)
def test_stages_without_a_run_are_rejected(project, flags, message):
  done = run_command("search", *flags, "--gallery=gallery", "--query=x", folder=project)
  assert done.returncode == 2
  assert message in done.stderr.splitlines()[-1]
