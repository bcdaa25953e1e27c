"""What happens beside the steps."""

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from configs import rstp
from tests.data.trees import make_tree
from tireid_jax.data.prepare import prepare
from tireid_jax.training import hooks, loop


class Cycle:
  def __init__(self):
    self.itself = self


def test_the_collector_leaves_out_what_is_there_after_the_first_step():
  kept, before, lost = Cycle(), gc.get_freeze_count(), weakref.ref(Cycle())
  with hooks.Collector() as collector:
    assert gc.get_freeze_count() == before
    collector(1, None, None)
    assert lost() is None  # garbage is collected first
    frozen = gc.get_freeze_count()
    assert frozen > before
    later = [Cycle() for _ in range(100)]
    collector(2, None, None)
    assert gc.get_freeze_count() == frozen
    del later
    kept, watched = None, weakref.ref(kept)
    gc.collect()
    assert watched() is not None
  gc.collect()
  assert watched() is None


def test_training_runs_with_a_collector_and_leaves_none_frozen(tmp_path, monkeypatch):
  make_tree(tmp_path / "raw", "rstp_reid", num_ids={"train": 4, "val": 2, "test": 2})
  config = rstp.get_config()
  config.data_dir, config.data.image_size, config.model.variant = str(tmp_path / "data"), (48, 16), "tiny"
  config.prompts.depth = 2
  config.stage1.update(init_from="random", epochs=2, batch_size=8)
  prepare("rstp_reid", tmp_path / "raw", tmp_path / "data", config.data.image_size, show_progress=False)
  counts = []
  monkeypatch.setattr(hooks.Log, "pause", lambda *_: counts.append(gc.get_freeze_count()))  # at each validation
  loop.run(config, (1,), tmp_path / "run")
  assert len(counts) == 2
  assert min(counts) > 10_000
  assert gc.get_freeze_count() == 0


@pytest.mark.parametrize(
  ("sent", "status"),
  [
    ([signal.SIGTERM], 143),
    ([signal.SIGINT], 130),
    ([signal.SIGTERM, signal.SIGINT], 130),
    ([signal.SIGINT, signal.SIGTERM], 130),
  ],
)
def test_a_signal_is_noted_and_decides_the_exit_status(sent, status):
  before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  with hooks.StopRequest() as stop:
    assert not stop.after_step()
    for number in sent:
      os.kill(os.getpid(), number)
    assert stop.after_step()
    assert stop.by_now()
    assert stop.status() == status
  assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_ends_at_once():
  script = """
import os, signal
from tireid_jax.training import hooks
with hooks.StopRequest():
  os.kill(os.getpid(), signal.SIGINT)
  print("goes on", flush=True)
  os.kill(os.getpid(), signal.SIGINT)
  print("not reached", flush=True)
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout) == (130, "goes on\n")
  assert "Ctrl-C again ends at once, without saving" in done.stderr
  assert done.stderr.endswith("interrupted\n")


def test_ctrl_c_stays_ignored_where_a_shell_ignores_it():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with hooks.StopRequest() as stop:
      os.kill(os.getpid(), signal.SIGINT)
      assert not stop.after_step()
  finally:
    signal.signal(signal.SIGINT, before)


def test_another_thread_trains_without_handlers():
  stopped = []

  def train_in_thread():
    with hooks.StopRequest() as stop:
      stopped.append(stop.after_step())

  thread = threading.Thread(target=train_in_thread)
  thread.start()
  thread.join()
  assert stopped == [False]


class Checkpoints:
  def __init__(self):
    self.saved = []

  def check(self):
    pass

  def save(self, state, metadata, score):
    self.saved.append(metadata)


class Stop:
  def after_step(self):
    return False


class Log:
  def flush(self):
    pass

  def wait(self):
    pass


def saved_steps(monkeypatch, *, every_minutes, seconds_per_step):
  """Returns after which of 12 steps a run saves whose steps take so long."""
  now = [0.0]
  monkeypatch.setattr(hooks.time, "monotonic", lambda: now[0])
  checkpoints = Checkpoints()
  save = hooks.Save(
    checkpoints, Log(), None, Stop(), lambda step, score, best_score: step, best_score=None, every_steps=5,
    every_minutes=every_minutes, epoch_steps=100, last_step=12,
  )  # fmt: skip
  for step in range(1, 13):
    now[0] += seconds_per_step
    save(step, None, None)
  return checkpoints.saved


def test_a_save_is_due_by_steps_or_by_the_minutes_since_the_last(monkeypatch):
  assert saved_steps(monkeypatch, every_minutes=0, seconds_per_step=60) == [5, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=60) == [3, 5, 8, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=6) == [5, 10, 12]


def test_several_processes_which_hear_of_a_due_save_later_do_it_once(monkeypatch):
  monkeypatch.setattr(hooks.jax, "process_count", lambda: 2)
  monkeypatch.setattr(hooks.distributed, "in_any_process", bool)
  assert saved_steps(monkeypatch, every_minutes=1, seconds_per_step=60) == [3, 5, 8, 10, 12]


def test_a_checkpoint_is_saved_once_the_log_before_it_is_stored():
  calls = []

  class Recorder:
    def __getattr__(self, name):
      return lambda *_: calls.append(name)

  recorder = Recorder()
  save = hooks.Save(
    recorder, recorder, None, Stop(), lambda *_: {}, best_score=None, every_steps=2, every_minutes=0, epoch_steps=10,
    last_step=10,
  )  # fmt: skip
  save(1, None, {})
  assert calls == ["check"]
  save(2, None, {})
  assert calls == ["check", "check", "flush", "wait", "save"]
