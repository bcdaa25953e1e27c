"""Training-loop hooks: when a checkpoint is saved, and in which order."""

import types

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


def test_a_save_is_due_at_an_interval_of_steps_or_of_minutes(monkeypatch):
  assert saved_steps(monkeypatch, every_minutes=0, seconds_per_step=60) == [5, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=60) == [3, 5, 8, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=6) == [5, 10, 12]


def test_several_processes_save_once_per_interval_although_they_agree_on_it_steps_later(monkeypatch):
  monkeypatch.setattr(stopping.jax, "process_count", lambda: 2)
  monkeypatch.setattr(stopping.distributed, "in_any_process", bool)
  assert saved_steps(monkeypatch, every_minutes=1, seconds_per_step=60) == [3, 5, 8, 10, 12]


def test_the_log_is_flushed_and_stored_before_a_checkpoint_is_saved():
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
