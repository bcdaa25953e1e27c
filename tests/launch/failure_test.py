"""Which failures before the first step count as equal, judged by the log of a start."""

import contextlib
import io
import subprocess
import types

import jax.numpy as jnp
import pytest

from tests.commands import ROOT
from tests.launch.checkout import AFTER, BEFORE
from tireid_jax.terminal import progress
from tireid_jax.training import hooks
from tireid_jax.workdir import metric_log

TRACEBACK = "Traceback (most recent call last):\n  File 'x.py', line 3, in f\n"


def early_failure(folder, text, status=1):
  (folder / "log").write_text(text)
  script = f"source launch/failure.sh; early_failure {status} {folder / 'log'}"
  done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
  return done.stdout


@pytest.mark.parametrize(
  ("text", "failure"),
  [
    (f"{TRACEBACK}KeyError: 'a'\n", "1: KeyError: 'a'"),
    (f"{TRACEBACK}jax.errors.JaxRuntimeError: INTERNAL: it\nmore\n", "1: jax.errors.JaxRuntimeError: INTERNAL: it"),
    (f"{TRACEBACK}AssertionError\n", "1: AssertionError"),
    ("KeyError: 2\nValueError: 1\nKeyError: 1\n", "1: KeyError: N|ValueError: N"),  # of several processes
    ("error: no answer from 10.0.0.2:84 at 12:03:04\n", "1: error: no answer from N.N.N.N:N at N:N:N"),
    ("OSError: '/tmp/tmpab_3/x' <pipe 0x7fa3> of 412\n", "1: OSError: '/tmp/N' <pipe N> of N"),
    ("W0101 Error in passing\npython: not found\n", "1: python: not found"),
    ("\n", "1: "),
  ],
)
def test_errors_are_compared_without_the_parts_that_change_from_start_to_start(tmp_path, text, failure):
  assert early_failure(tmp_path, text) == f"{failure}\n"
  assert early_failure(tmp_path, f"{BEFORE}\n{text}") == f"{failure}\n"
  assert early_failure(tmp_path, f"{AFTER}\n{text}") == ""
  assert early_failure(tmp_path, text, status=143) == ""


def progress_of(folder, *, steps_before, steps):
  """Returns the progress output of a run that resumes after `steps_before` steps and completes `steps` more."""
  with contextlib.redirect_stderr(io.StringIO()) as written, metric_log.MetricWriter(folder, enabled=False) as writer:
    bar = progress.bar(total=12, initial=steps_before, desc="stage 2", unit="step")
    context = types.SimpleNamespace(writer=writer, progress=bar, log_every_steps=100, batch_size=8)
    hook = hooks.Log(context, learning_rates={})
    for step in range(steps):
      hook(steps_before + step + 1, None, {"loss/total": jnp.float32(3)})
  return written.getvalue()


@pytest.mark.parametrize("steps_before", [0, 5])
def test_a_run_shows_its_first_step_as_soon_as_it_is_complete(tmp_path, steps_before):
  before = progress_of(tmp_path, steps_before=steps_before, steps=0)
  assert f"{steps_before}/12" in before
  assert early_failure(tmp_path, before) != ""
  after = progress_of(tmp_path, steps_before=steps_before, steps=1)
  assert f"{steps_before + 1}/12" in after
  assert early_failure(tmp_path, after) == ""
