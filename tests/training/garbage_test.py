"""Garbage collection is frozen after the first step and unfrozen at the end."""

import gc
import weakref

from configs import rstp
from tests.data.trees import make_tree
from tireid_jax.data.prepare import prepare
from tireid_jax.training import garbage, hooks, loop


class Cycle:
  def __init__(self):
    self.itself = self


def test_objects_that_exist_after_the_first_step_are_exempt_from_garbage_collection():
  survivor, before, unreachable = Cycle(), gc.get_freeze_count(), weakref.ref(Cycle())
  with garbage.FreezeGarbage() as freeze:
    assert gc.get_freeze_count() == before
    freeze(1, None, None)
    assert unreachable() is None  # garbage is collected before the rest is frozen
    frozen = gc.get_freeze_count()
    assert frozen > before
    later = [Cycle() for _ in range(100)]
    freeze(2, None, None)
    assert gc.get_freeze_count() == frozen
    del later
    survivor, watched = None, weakref.ref(survivor)
    gc.collect()
    assert watched() is not None
  gc.collect()
  assert watched() is None


def test_training_freezes_existing_objects_and_unfreezes_them_at_the_end(tmp_path, monkeypatch):
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
