"""Profiling some steps of a run: the trace and the report; the results of the run do not change."""

import re
import signal
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import pytest

from tests.commands import SMALL
from tests.data.trees import make_tree
from tests.forked import run
from tests.models.trees import write_hf_clip
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.profiling import capture, trace
from tireid_jax.profiling.capture import Profile, Window
from tireid_jax.workdir import checkpoint
from tireid_jax.workdir.metric_log import read_metrics


@pytest.fixture(scope="module")
def train(tmp_path_factory):
  """Returns train(name, flags), which runs main and returns (workdir, standard error)."""
  folder = tmp_path_factory.mktemp("profiling")
  make_tree(folder / "raw", "rstp_reid", num_ids={"train": 8, "val": 3, "test": 3})
  write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  common_flags = (
    "--config=configs/rstp.py", *SMALL, f"--config.data_dir={folder}/data", f"--config.pretrained={folder}/clip",
    "--config.stage2.epochs=1",
  )  # fmt: skip
  assert run("data.prepare", *common_flags, f"--raw={folder}/raw").returncode == 0

  def train(name, *flags):
    done = run("main", *common_flags, *flags, f"--workdir={folder / name}")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / name, done.stderr

  return train


@pytest.fixture(scope="module")
def plain(train):
  return train("plain", "--stage=all")[0]


def traced_steps(stage_folder):
  """Returns the annotated steps of a stage's only trace, which is where TensorBoard looks for it."""
  (file,) = stage_folder.glob("tensorboard/plugins/profile/*/*.xplane.pb")
  lines = trace.lines(file.parent)
  return sorted(dict(event.stats)["step_num"] for _, line in lines for event in line.events if event.name == trace.STEP)


@pytest.fixture(scope="module")
def profiled(train):
  """Profiles steps 4 to 7: the window ends within stage 1, of twelve steps, and after stage 2, of six."""
  return train("profiled", "--stage=all", "--profile=4:4")


def test_the_steps_of_each_stage_are_traced(profiled):
  workdir, errors = profiled
  for number, steps in ((1, [4, 5, 6, 7]), (2, [4, 5, 6])):
    folder = workdir / f"stage{number}"
    assert traced_steps(folder) == steps
    assert f"stage {number}: {len(steps)} step(s) profiled; tensorboard --logdir={folder}/tensorboard" in errors


def test_a_profiled_run_has_bit_equal_losses_and_weights(profiled, plain):
  for stage in ("stage1", "stage2"):
    folders = (profiled[0] / stage, plain / stage)
    losses = [[record["loss/total"] for record in read_metrics(f) if "loss/total" in record] for f in folders]
    assert losses[0] == losses[1]
    (step, other_step), mesh = map(checkpoint.best_step, folders), sharding.make_mesh(1, 1, 1)
    assert step == other_step
    chex.assert_trees_all_equal(*(checkpoint.restore_variables(f, step, mesh)[0] for f in folders))


def test_the_ten_most_expensive_operations_are_printed(profiled):
  tables = profiled[1].split("most expensive operations")[1:]
  assert len(tables) == 2
  for table in tables:
    rows = table.splitlines()[1:11]
    fractions = [float(re.search(r" ([\d.]+)%$", row)[1]) for row in rows]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[-1] > 0
    assert sum(fractions) <= 100
    assert any("encoder/transformer/blocks" in row for row in rows)


def test_a_finished_stage_is_not_profiled(train, plain):
  assert "profiled" not in train("plain", "--stage=all", "--profile=2:3")[1]
  assert not list(plain.rglob("*.xplane.pb"))


@jax.jit
def train_step(state):
  return state + 1


class Run:
  """Runs some steps; records for how long and after which step the log was paused."""

  def __init__(self, folder, window, *, first_step=0, last_step=8, stops_after=None, error=None):
    self.seconds, self.paused_after = 0.0, None
    with Profile(window, folder, SimpleNamespace(pause=self.pause), number=1, first_step=first_step) as profile:
      state = jnp.zeros(())
      for number in range(first_step + 1, last_step + 1):
        with profile.step(number):
          self.number, state = number, train_step(state)
          profile(number, state, {"loss": state})
          if number == stops_after:
            raise error or SystemExit(128 + signal.SIGTERM)

  def pause(self, seconds):
    self.seconds += seconds
    self.paused_after = self.number


def test_tracing_stops_after_the_last_step_of_the_window(tmp_path):
  assert Run(tmp_path, Window(2, 3)).paused_after == 4
  assert traced_steps(tmp_path) == [2, 3, 4]


def test_a_stopped_run_writes_its_trace_and_the_report(tmp_path, capsys):
  with pytest.raises(SystemExit):
    Run(tmp_path, Window(3, 5), stops_after=4)
  assert traced_steps(tmp_path) == [3, 4]
  assert "stage 1: 2 step(s) profiled" in capsys.readouterr().err


def test_a_failed_run_writes_its_trace_but_no_report(tmp_path, capsys):
  with pytest.raises(FloatingPointError, match="loss is nan"):
    Run(tmp_path, Window(3, 5), stops_after=4, error=FloatingPointError("loss is nan"))
  assert traced_steps(tmp_path) == [3, 4]
  assert "profiled" not in capsys.readouterr().err


def test_a_resumed_run_traces_the_remaining_steps_of_the_window(tmp_path, capsys):
  assert Run(tmp_path / "a", Window(2, 4), first_step=3).seconds > 0
  assert traced_steps(tmp_path / "a") == [4, 5]
  Run(tmp_path / "b", Window(2, 2), first_step=3)
  assert "nothing is profiled, since the steps of --profile are complete" in capsys.readouterr().err
  assert not (tmp_path / "b").exists()


def test_on_a_tpu_the_report_refers_to_the_plan_command(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  Run(tmp_path, Window(1, 2))
  errors = capsys.readouterr().err
  assert "python -m tireid_jax.plan shows the compiler's estimate" in errors
  assert "most expensive" not in errors


def test_only_process_0_writes_a_trace(tmp_path, monkeypatch):
  monkeypatch.setattr(capture.distributed, "is_first", lambda: False)
  Run(tmp_path, Window(1, 2))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["5", "5:", ":5", "0:5", "5:0", "-1:5", "a:b", "1:2:3", "1.5:2", "٣:1"])
def test_a_malformed_window_raises(flag):
  with pytest.raises(ValueError, match=f"--profile={flag} must be START:STEPS"):
    capture.parse(flag)
