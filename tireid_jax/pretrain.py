"""Pre-trains a small CLIP (stage 0) on a pool of synthetic pictures, which it draws first.

python -m tireid_jax.pretrain --config=configs/toy_clip.py --workdir=W

Run the same command again after an interruption: drawing and training continue where they stopped.
"""

import functools
import os
import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.data import tokenizer
from tireid_jax.data.loader import Shard
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.toy.pool import batches, splits, store
from tireid_jax.data.toy.write import MIN_IMAGES_TO_SPREAD, num_cores
from tireid_jax.errors import UserError
from tireid_jax.storage import compilation_cache, locations
from tireid_jax.training import loop
from tireid_jax.training.stages import Stage


def main(_: list[str]) -> None:
  options = flags.FLAGS
  if options.config is None or not options.workdir:
    raise UserError("give --config=configs/toy_clip.py and --workdir=DIR")
  config = options.config
  if "pool" not in config:
    raise UserError("the config has no section `pool`, which describes the pictures; give --config=configs/toy_clip.py")
  config_file.print_sources()
  compilation_cache.enable_persistent_cache()
  run_folder = locations.check(locations.to_path(options.workdir, "--workdir"))
  folder = locations.local_path(config.pool.folder or run_folder / "pool", "--config.pool.folder")
  loop.run(config, (0,), run_folder, data=PoolData(folder))


class PoolData:
  """The pool of a config as `training.stage_data.StageData`; drawn when it is first read."""

  def __init__(self, folder: str | os.PathLike) -> None:
    """`folder` holds the pool, or will."""
    self._folder = pathlib.Path(folder)

  def where(self, config: ConfigDict) -> str:
    return f"in {self._folder}"

  def check(self, config: ConfigDict, stage: Stage) -> dict[str, Any]:
    pool, data = config.pool, config.data
    if stage.data != splits.NAME or data.tokenizer or stage.sampler["kind"] != "captions":
      raise UserError(
        f"pretrain needs stage0.data={splits.NAME}, stage0.sampler.kind=captions and data.tokenizer='', not "
        f"{stage.data!r}, {stage.sampler['kind']!r} and {data.tokenizer!r}"
      )
    splits.check_size(pool.num, pool.num_held_out)
    batches.num_steps(pool.epoch_size, stage.batch_size)
    store.check(self._folder, pool.num, pool.seed, data.image_size)
    words = tokenizer.load_tokenizer("")
    return {
      "name": splits.NAME,
      "tokenizer": {"name": "", "vocabulary_size": words.vocabulary_size, "end_token": words.end_token},
      "fingerprint": store.fingerprint(pool.num, pool.seed, data.image_size),
    }

  def steps_per_epoch(self, config: ConfigDict, stage: Stage) -> int:
    return batches.num_steps(config.pool.epoch_size, stage.batch_size)

  def train_split(self, config: ConfigDict, stage: Stage) -> splits.TrainSplit:
    return splits.train_split(self._pool(config), config.pool.num_held_out)

  def batches(self, config: ConfigDict, stage: Stage, split: splits.TrainSplit, shard: Shard) -> batches.PoolBatches:
    return batches.PoolBatches(
      split, stage.batch_size, seed=config.seed, epoch_size=config.pool.epoch_size, num_epochs=stage.epochs,
      caption_lengths=config.data.caption_lengths, shard=shard,
    )  # fmt: skip

  def open_split(self, config: ConfigDict, stage: Stage, split: str) -> Split:
    return splits.open_held_out(self._pool(config), split, config.pool.num_held_out)

  def _pool(self, config):
    return self._opened(config.pool.num, config.pool.seed, tuple(config.data.image_size))

  @functools.cache  # noqa: B019  one pool for the life of the command
  def _opened(self, num, seed, size):
    processes = num_cores() if num >= MIN_IMAGES_TO_SPREAD else 1
    return store.write_pool(self._folder, num, seed, size, processes)


if __name__ == "__main__":
  config_file.define_flag("config", None, "config with the section `pool`, as configs/toy_clip.py")
  flags.DEFINE_string("workdir", "", "folder of checkpoints, logs and results")
  cli.run(main)
