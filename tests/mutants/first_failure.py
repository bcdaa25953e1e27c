"""A pytest plugin that writes the name of the first failing test to a file."""

import os
import pathlib


def pytest_runtest_logreport(report):
  _note(report)


def pytest_collectreport(report):
  _note(report)


def _note(report):
  path = pathlib.Path(os.environ["MUTANT_NOTE"])
  if report.failed and not path.exists():
    path.write_text(report.nodeid)
