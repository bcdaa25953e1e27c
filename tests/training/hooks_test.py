"""Training-loop hooks: checkpoints at their intervals, and garbage that is not collected in between."""

import gc
import types
import weakref

from configs import rstp
from tests.data.trees import make_tree
from tireid_jax.data.prepare import prepare
from tireid_jax.training import hooks, loop, stopping


class Cycle:
  def __init__(self):
    self.itself = self


def test_objects_that_exist_after_the_first_step_are_exempt_from_garbage_collection():
  kept, before, lost = Cycle(), gc.get_freeze_count(), weakref.ref(Cycle())
  with hooks.FreezeGarbage() as freeze:
    assert gc.get_freeze_count() == before
    freeze(1, None, None)
    assert lost() is None  # garbage is collected first
    frozen = gc.get_freeze_count()
    assert frozen > before
    later = [Cycle() for _ in range(100)]
    freeze(2, None, None)
    assert gc.get_freeze_count() == frozen
    del later
    kept, watched = None, weakref.ref(kept)
    gc.collect()
    assert watched() is not None
  gc.collect()
  assert watched() is None


def test_training_freezes_garbage_and_unfreezes_it_at_the_end(tmp_path, monkeypatch):
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
  """Returns after which of 12 steps a run saves whose steps take so long."""
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


def test_a_save_is_due_by_steps_or_by_the_minutes_since_the_last(monkeypatch):
  assert saved_steps(monkeypatch, every_minutes=0, seconds_per_step=60) == [5, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=60) == [3, 5, 8, 10, 12]
  assert saved_steps(monkeypatch, every_minutes=3, seconds_per_step=6) == [5, 10, 12]


def test_several_processes_save_once_though_they_agree_on_it_later(monkeypatch):
  monkeypatch.setattr(stopping.jax, "process_count", lambda: 2)
  monkeypatch.setattr(stopping.distributed, "in_any_process", bool)
  assert saved_steps(monkeypatch, every_minutes=1, seconds_per_step=60) == [3, 5, 8, 10, 12]


def test_a_checkpoint_is_saved_once_the_log_before_it_is_stored():
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
