"""python -m tireid_jax.report, as a user calls it."""

import json
import re
import shutil

import pytest

from tests import forked
from tests.reporting.pages import Page
from tests.search import searching
from tireid_jax.data import toy
from tireid_jax.data.prepare import prepare
from tireid_jax.workdir import layout

NUM_TEST_IDS = 12


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """A folder with ToyPEDES, raw and prepared, and a run of a random model with prompts."""
  folder = tmp_path_factory.mktemp("project")
  sizes = {"seed": 3, "num_train_ids": 1, "num_val_ids": 2, "num_test_ids": NUM_TEST_IDS, "images_per_id": 2}
  toy.write_pedes(folder / "raw", **sizes, num_workers=1)
  prepare("toy_pedes", folder / "raw", folder / "data", searching.SIZE, show_progress=False)
  searching.make_run(folder / "run")
  return folder


@pytest.fixture(scope="module")
def page(project):
  (layout.stage_folder(project / "run", 2) / "metrics.jsonl").write_text(
    '{"step": 1, "seconds": 1.0, "loss/total": 2.5}\n{"step": 1, "seconds": 2.0, "val/t2i/R@1": 12.5}\n'
  )
  done = report(project)
  assert done.returncode == 0, done.stderr
  assert done.stderr.splitlines()[-1] == "wrote run/report.html"
  return Page((project / "run/report.html").read_text())


def report(project, *flags):
  return forked.run("report", "--workdir=run", *flags, folder=project)


def texts(page, tag, css=None):
  return [element[2] for element in page.all(tag, css)]


def test_the_metrics_are_those_that_evaluate_prints(project, page):
  done = forked.run("evaluate", "--workdir=run", folder=project)
  assert done.returncode == 0, done.stderr
  names, *rows = (line.split() for line in done.stdout.splitlines()[1:])
  table = texts(page, "table")[0]
  assert table == "".join([*names, *(" ".join(row[:3]) + "".join(row[3:]) for row in rows)])


def test_curves_examples_confused_identities_and_similarities_are_shown(page):
  assert texts(page, "h1") == ["toy_pedes test, stage 2"]
  assert texts(page, "h2") == [
    "Results on the test split of toy_pedes", "Curves", "Example queries", "Most confused identities", "Similarities",
    "Failures by attribute", "Prompts",
  ]  # fmt: skip
  assert texts(page, "h3", "kind") == ["Best", "Worst", "Picked at random"]
  assert len(page.all("article", "query")) == 12
  assert "loss" in "".join(texts(page, "h3"))
  ranked = [figure for figure in page.all("figure") if figure[1].get("class") in ("right", "wrong")]
  assert len(ranked) == 12 * 10
  assert page.all("span", "word")
  (percentiles,) = [table for table in texts(page, "table") if "same identity" in table]
  # Every caption has two images of its person, and 22 others.
  num_captions = 2 * 2 * NUM_TEST_IDS
  assert f"same identity{2 * num_captions}" in percentiles
  assert f"other identities{22 * num_captions:,}" in percentiles


def test_the_page_is_one_small_file_that_loads_nothing(project, page):
  assert not page.all("script") + page.all("link")
  sources = [element[1]["src"] for element in page.elements if "src" in element[1]]
  assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
  assert (project / "run/report.html").stat().st_size < 3_000_000


def test_another_split_file_and_number_of_examples_can_be_chosen(project):
  done = report(project, "--split=val", "--num_examples=0", "--to=val.html", "--stage=2")
  assert done.returncode == 0, done.stderr
  page = Page((project / "val.html").read_text())
  assert texts(page, "h1") == ["toy_pedes val, stage 2"]
  assert "Example queries" not in texts(page, "h2")


def test_finished_stages_are_listed_and_the_last_one_with_a_checkpoint_is_shown(project):
  workdir = project / "two"
  shutil.copytree(project / "run", workdir)
  (workdir / "stage2").rename(workdir / "stage1")
  t2i = {"R@1": 1.25, "R@5": 2.5, "R@10": 5.0, "mAP": 7.5, "mINP": 9.0}
  result = {"t2i": t2i, "dataset": "<toy>", "step": 7, "steps": 9, "trainable_parameters": 4608, "seconds": 3.4}
  (workdir / "stage1/result.json").write_text(json.dumps(result))
  done = report(project, "--workdir=two", "--num_examples=3")
  assert done.returncode == 0, done.stderr
  page = Page((workdir / "report.html").read_text())
  assert texts(page, "h1") == ["toy_pedes test, stage 1"]
  (stages,) = [table for table in texts(page, "table") if "stage 1" in table]
  assert "stage 1<toy>1.252.505.007.509.00794,6083" in stages


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--workdir="], "give --workdir=DIR of a run"),
    (["--workdir=nowhere"], "nowhere is no workdir of a run"),
    (["--workdir=empty"], "empty holds no checkpoint of any stage"),
    (["--stage=1"], "stage1 holds no checkpoint"),
    (["--stage=3"], "--stage=3 is no stage"),
    (["--split=tst"], "toy_pedes has no split 'tst'"),
    (["--num_examples=-1"], "--num_examples=-1 must be from 0 to 60"),
    (["--to=run"], "--to=run is a folder; give the path of an HTML file"),
    (["--to=none/report.html"], "--to=none/report.html: there is no folder none"),
    (["--raw=empty"], "empty holds no attributes.json"),
    (["--data=configs/rstp.py"], "rstp_reid at 32x16 is not prepared"),
  ],
)
def test_bad_input_ends_with_one_line_and_status_2(project, flags, message):
  (project / "empty").mkdir(exist_ok=True)
  shutil.copy(project / "run/config.json", project / "empty/config.json")
  done = report(project, *flags)
  assert done.returncode == 2, done.stderr
  assert re.match(f"error: .*{re.escape(message)}", done.stderr.splitlines()[-1]), done.stderr
