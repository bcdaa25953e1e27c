"""Pre-training on the pool: a stopped run continues to the same bits, also by a longer schedule; bad input."""

import dataclasses

import chex
import pytest

from configs import toy_clip
from tests import forked
from tireid_jax.errors import UserError
from tireid_jax.models.variants import VARIANTS, Tower
from tireid_jax.parallel import sharding
from tireid_jax.pretrain import PoolData
from tireid_jax.training import loop, stopping
from tireid_jax.workdir import checkpoint, metric_log

pytestmark = pytest.mark.usefixtures("shared_compilation_cache")


@pytest.fixture(scope="module", autouse=True)
def one_block():
  """Makes the model of the config one that is compiled in a second."""
  towers = {"image": Tower(32, 1, 1), "text": Tower(32, 1, 1)}
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(VARIANTS, "small", dataclasses.replace(VARIANTS["small"], **towers))
    yield


def configured(epochs, stable_epochs):
  config = toy_clip.get_config()
  config.data.update(image_size=(32, 16), caption_lengths=(77,))
  config.model.blocks = "loop"
  config.pool.update(num=16, num_held_out=4, epoch_size=9)
  config.evaluation.batch_size, config.log_every_steps = 8, 1
  config.stage0.update(
    batch_size=4, epochs=epochs, stable_epochs=stable_epochs, warmup_epochs=1.0, evaluate_every_epochs=1
  )
  return config


def run(config, folder, pool):
  return loop.run(config, (0,), folder, data=PoolData(pool))[0]


def run_until(step, monkeypatch, *arguments):
  """Runs as if SIGTERM came at a step."""
  taken = iter(range(1, step + 1))
  with monkeypatch.context() as patch:
    patch.setattr(stopping.StopRequest, "after_step", lambda self: next(taken) == step)
    with pytest.raises(SystemExit):
      run(*arguments)


def variables_of(folder, step):
  return checkpoint.restore_variables(folder / "stage0", step, sharding.make_mesh(1, 1, 1))[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Returns (folder of the pool, workdir, result) of a run of 4 epochs, 2 of them at the peak."""
  folder = tmp_path_factory.mktemp("whole")
  return folder / "pool", folder / "run", run(configured(4, 2.0), folder / "run", folder / "pool")


def test_a_run_is_validated_each_epoch_and_reported_on_other_pictures(whole):
  _, folder, result = whole
  assert [record["step"] for record in metric_log.read_metrics(folder / "stage0") if "val/t2i/R@1" in record] == [
    2, 4, 6, 8,
  ]  # fmt: skip
  assert (result["dataset"], result["split"], result["steps"]) == ("toy_pool", "test", 8)


def test_a_stopped_run_continues_to_the_same_bits_by_a_longer_schedule_too(whole, tmp_path, monkeypatch):
  pool, finished, _ = whole
  run_until(5, monkeypatch, configured(3, 1.5), tmp_path, pool)
  assert run(configured(4, 2.0), tmp_path, pool)["steps"] == 8
  chex.assert_trees_all_equal(variables_of(tmp_path, 8), variables_of(finished, 8))


def test_a_finished_run_keeps_its_schedule(whole):
  pool, finished, _ = whole
  with pytest.raises(UserError, match="stage0.epochs: 4 in the workdir, 5 requested"):
    run(configured(5, 3.0), finished, pool)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--config=configs/toy.py",), "the config has no section `pool`, which describes the pictures; give"),
    ((), "give --config=configs/toy_clip.py and --workdir=DIR"),
    (("--config.pool.num=10", "--config.pool.num_held_out=5"), "pool.num_held_out is 5 of pool.num=10 pictures;"),
    (("--config.pool.epoch_size=9",), "pool.epoch_size 9 is less than stage0.batch_size 256; make it more"),
    (("--config.stage0.data=toy_generic",), "pretrain needs stage0.data=toy_pool, stage0.sampler.kind=captions and"),
  ],
)
def test_bad_input_is_one_line(tmp_path, flags, message):
  flags = flags if flags[:1] == ("--config=configs/toy.py",) or not flags else ("--config=configs/toy_clip.py", *flags)
  done = forked.run("pretrain", *flags, f"--workdir={tmp_path}/run" if flags else "--workdir=")
  assert done.returncode == 2, done.stderr
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith("error: "), done.stderr
  assert message in last
  assert not (tmp_path / "run" / "pool").exists()
