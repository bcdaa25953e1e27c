"""What happens beside the steps."""

import gc
import weakref

from configs import rstp
from tests.data.trees import make_tree
from tireid_jax import hooks, train
from tireid_jax.data.prepare import prepare


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
  train.run(config, (1,), tmp_path / "run")
  assert len(counts) == 2
  assert min(counts) > 10_000
  assert gc.get_freeze_count() == 0
