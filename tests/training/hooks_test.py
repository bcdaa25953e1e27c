"""Training-loop hooks: what is logged, when a checkpoint is saved, and in which order."""

import types

import numpy as np
import pytest

from tireid_jax.training import hooks, stopping


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


class Writer:
  def wait(self):
    pass


def context(**fields):
  return types.SimpleNamespace(**{"stop": Stop(), "writer": Writer(), "save_every_minutes": 0, **fields})


def saved_steps(monkeypatch, *, every_minutes, seconds_per_step):
  """Returns the steps, of 12, at which a run saves a checkpoint, given the duration of a step."""
  now = [0.0]
  monkeypatch.setattr(hooks.time, "monotonic", lambda: now[0])
  checkpoints = Checkpoints()
  shared = context(
    checkpoints=checkpoints, save_every_steps=5, save_every_minutes=every_minutes, steps_per_epoch=100, num_steps=12
  )
  save = hooks.Save(shared, Log(), None, lambda step, score, best_score: step)
  for step in range(1, 13):
    now[0] += seconds_per_step
    save(step, None, None)
  return checkpoints.saved


def test_checkpoints_are_saved_every_few_steps_or_every_few_minutes(monkeypatch):
  assert saved_steps(monkeypatch, every_minutes=0, seconds_per_step=60) == [5, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=60) == [3, 5, 8, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=6) == [5, 10, 12]


def test_several_processes_save_once_per_interval_although_they_agree_to_do_so_some_steps_later(monkeypatch):
  monkeypatch.setattr(stopping.jax, "process_count", lambda: 2)
  monkeypatch.setattr(stopping.distributed, "in_any_process", bool)
  assert saved_steps(monkeypatch, every_minutes=1, seconds_per_step=60) == [3, 5, 8, 10, 12]


def test_the_metric_log_is_flushed_and_stored_before_a_checkpoint_is_saved():
  calls = []

  class Recorder:
    def __getattr__(self, name):
      return lambda *_: calls.append(name)

  recorder = Recorder()
  shared = context(checkpoints=recorder, writer=recorder, save_every_steps=2, steps_per_epoch=10, num_steps=10)
  save = hooks.Save(shared, recorder, None, lambda *_: {})
  save(1, None, {})
  assert calls == ["check"]
  save(2, None, {})
  assert calls == ["check", "check", "flush", "wait", "save"]


def test_a_signal_makes_the_run_save_and_exit_with_the_status_of_that_signal(capsys):
  class Stopping(Stop):
    def after_step(self):
      return True

    def status(self):
      return 143

  calls = []
  checkpoints = types.SimpleNamespace(
    check=lambda: None, save=lambda *_: calls.append("save"), wait=lambda: calls.append("wait")
  )
  shared = context(checkpoints=checkpoints, stop=Stopping(), save_every_steps=5, steps_per_epoch=100, num_steps=12)
  save = hooks.Save(shared, Log(), None, lambda *_: {})
  with pytest.raises(SystemExit) as end:
    save(4, None, {})
  assert (end.value.code, calls) == (143, ["save", "wait"])
  assert "stopped and saved at step 4; run the same command" in capsys.readouterr().err
  save(12, None, {})  # the last step, after which the stage is reported as usual
  assert calls == ["save", "wait", "save"]


class Record:
  """A progress bar and a metric log that record their calls."""

  def __init__(self):
    self.calls = []

  def __getattr__(self, name):
    return lambda *arguments, **_: self.calls.append((name, *arguments))


def open_log(record, **keywords):
  shared = context(progress=record, writer=record, log_every_steps=2, batch_size=8)
  return hooks.Log(shared, learning_rates={"prompts": lambda step: 0.5 * step}, **keywords)


def test_a_log_record_has_mean_losses_since_the_last_record_the_learning_rate_and_the_speed(monkeypatch):
  now, record = [100.0], Record()
  monkeypatch.setattr(hooks.time, "monotonic", lambda: now[0])
  log = open_log(record)
  for step, loss in enumerate((1.0, 3.0, 5.0, 5.0), 1):
    now[0] += 2.0
    log(step, None, {"loss/total": np.float32(loss)})
    if step == 3:
      now[0] += 10.0
      log.pause(10.0)  # a validation
  speed = 2 * 8 / 4.0
  assert record.calls == [
    ("update",),
    ("refresh",),
    ("update",),
    ("write", 2, {"loss/total": 2.0, "learning_rate/prompts": 0.5, "speed/examples_per_second": speed}),
    ("set_postfix_str", "loss 2.000"),
    ("update",),
    ("update",),
    ("write", 4, {"loss/total": 5.0, "learning_rate/prompts": 1.5, "speed/examples_per_second": speed}),
    ("set_postfix_str", "loss 5.000"),
  ]


def test_the_progress_bar_shows_the_first_step_once_it_has_finished():
  record = Record()

  class Value:
    def block_until_ready(self):
      record.done()
      return self

  open_log(record)(1, None, {"loss/total": Value()})
  assert [name for name, *_ in record.calls] == ["update", "done", "refresh"]


def test_non_finite_losses_are_named_before_gradient_norms_and_the_total_before_its_terms():
  log = open_log(Record())
  log(1, None, {"gradient_norm/prompts": 1.0, "loss/itc": 2.0, "loss/total": 2.0})
  with pytest.raises(hooks.NotFiniteError, match="loss/total is nan at step 2") as caught:
    log(2, None, {"gradient_norm/prompts": np.nan, "loss/itc": np.nan, "loss/total": np.nan})
  assert caught.value.step == 2
  assert list(caught.value.metrics) == ["loss/total", "loss/itc", "gradient_norm/prompts"]


def test_non_finite_weights_are_detected_at_the_next_log_record():
  record = Record()
  log = open_log(record, all_finite=lambda variables: np.isfinite(variables))
  log(1, types.SimpleNamespace(variables=1.0), {"loss/total": 1.0})
  with pytest.raises(hooks.NotFiniteError, match="a weight is not finite at step 2") as caught:
    log(2, types.SimpleNamespace(variables=np.inf), {"loss/total": 1.0})
  assert (caught.value.step, caught.value.metrics) == (2, {})
  assert "write" not in [name for name, *_ in record.calls]
