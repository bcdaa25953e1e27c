"""The notebook runs on a small run, and its two files have the same content."""

import json
import os
import runpy

import jupytext
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from tests.commands import ROOT
from tests.search import searching
from tireid_jax.data import toy
from tireid_jax.data.prepare import prepare
from tireid_jax.evaluation import embedding
from tireid_jax.workdir import layout

SCRIPT, NOTEBOOK = ROOT / "notebooks/quickstart.py", ROOT / "notebooks/quickstart.ipynb"


@pytest.fixture
def project(tmp_path, monkeypatch):
  """A folder with ToyPEDES, raw and prepared, and a run of a random model, which the notebook uses."""
  sizes = {"seed": 3, "num_train_ids": 1, "num_val_ids": 0, "num_test_ids": 6, "images_per_id": 2}
  toy.write_pedes(tmp_path / "raw", **sizes, num_workers=1)
  prepare("toy_pedes", tmp_path / "raw", tmp_path / "data", searching.SIZE, show_progress=False)
  searching.make_run(tmp_path / "run")
  (layout.stage_folder(tmp_path / "run", 2) / "metrics.jsonl").write_text(
    "".join(json.dumps({"step": step, "seconds": 1.0, "loss/total": 5.0 - step}) + "\n" for step in (1, 2))
  )
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", os.fspath(tmp_path))  # of the index
  monkeypatch.setenv("QUICKSTART_WORKDIR", "run")
  monkeypatch.setenv("QUICKSTART_GALLERY", "raw/ToyPEDES/imgs")
  return tmp_path


def test_the_notebook_searches_evaluates_and_plots(project, monkeypatch):
  drawn = []

  def show():
    drawn.append([len(axis.lines) + len(axis.images) for axis in plt.gcf().axes])

  monkeypatch.setattr(plt, "show", show)
  with mpl.rc_context({"backend": "agg"}):
    found = runpy.run_path(os.fspath(SCRIPT))
    plt.close("all")
  # Eight pictures, two histograms in one plot, and one curve.
  assert drawn == [8 * [1], [2], [1]]
  assert [result.rank for result in found["results"]] == [*range(1, 9)]
  assert all(result.file.is_file() for result in found["results"])
  assert found["summary"] == embedding.summarize(found["scores"])
  assert found["found"].positive.sum() == len(found["split"].captions) * 2  # two images of each person


def test_both_files_of_the_notebook_have_the_same_cells_and_no_output_is_stored():
  script, notebook = jupytext.read(SCRIPT), jupytext.read(NOTEBOOK)
  assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
    (cell.cell_type, cell.source) for cell in script.cells
  ], "run jupytext --to ipynb --update notebooks/quickstart.py"
  code = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
  assert len(code) == 6
  assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
