"""A short fuzzing run: every target reads some inputs, and every kind of fault is detected."""

import numpy as np
import pytest

from tests.fuzz import judging, worker
from tests.fuzz.targets import TARGETS
from tireid_jax.errors import UserError


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_are_read_or_rejected_in_one_line(tmp_path, name):
  session = worker.fuzz(name, 1, 0, tmp_path, max_inputs=60)
  assert session.num_inputs
  assert session.faults == {}


def _reject(data):
  raise UserError("x" * len(data))


def _fail(data):
  raise KeyError(data)


@pytest.mark.parametrize(
  ("run", "fault"),
  [
    (lambda data: None, ""),
    (_reject, ""),
    (_fail, "KeyError at "),
    (lambda data: _reject(data * 1000), "an error of 3000 letters"),
    (lambda data: np.ones(2**23), "took 6"),
    (lambda data: _spin(), "OutOfTime at "),
  ],
)
def test_every_kind_of_fault_is_detected(monkeypatch, run, fault):
  monkeypatch.setattr(judging, "MAX_SECONDS", 0.3)
  monkeypatch.setattr(judging, "MAX_BYTES", 2**25)
  with judging.timed():
    found, _ = judging.judge(run, b"abc")
  assert found.startswith(fault)
  assert bool(found) == bool(fault)


def _spin():
  while True:
    try:
      len("")
    except Exception:
      raise AssertionError("an `except Exception` took it") from None
