"""The data of a stage: a prepared data set by default, or what a command passes to `loop.run` instead."""

from collections.abc import Sized
from typing import Any, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from tireid_jax.data import loader, sampling
from tireid_jax.data.loader import Shard
from tireid_jax.data.prepared import splits
from tireid_jax.training.stages import Stage


class TrainSplit(Protocol):
  """What a stage records of the data that it trains on; the attributes are those of `splits.Split`."""

  @property
  def name(self) -> str: ...
  @property
  def captions(self) -> Sized: ...
  @property
  def num_identities(self) -> int: ...
  @property
  def fingerprint(self) -> str: ...


class TrainBatches(Protocol):
  """Training batches by step, as `loader.Batches`; a context manager."""

  @property
  def steps_per_epoch(self) -> int: ...
  def __call__(self, step: int) -> dict[str, np.ndarray]: ...
  def examples(self, step: int) -> list[dict[str, Any]]: ...
  def __enter__(self) -> Any: ...
  def __exit__(self, *error: Any) -> None: ...


class StageData(Protocol):
  """Where the stages of a run get their data from."""

  def where(self, config: ConfigDict) -> str:
    """Returns "in FOLDER" or the like, for messages."""

  def check(self, config: ConfigDict, stage: Stage) -> dict[str, Any]:
    """Returns {"name", "tokenizer", "fingerprint", ...} as `splits.dataset_info` does; reads no image.

    Raises:
      UserError: a split that the stage needs is missing.
    """

  def steps_per_epoch(self, config: ConfigDict, stage: Stage) -> int:
    """Returns the number of steps of an epoch; reads no image."""

  def train_split(self, config: ConfigDict, stage: Stage) -> TrainSplit:
    """Returns what the stage trains on."""

  def batches(self, config: ConfigDict, stage: Stage, split: Any, shard: Shard) -> TrainBatches:
    """Returns the training batches of a `train_split`, from which this process takes `shard`."""

  def open_split(self, config: ConfigDict, stage: Stage, split: str) -> splits.Split:
    """Returns an evaluation split: "val" or "test"."""


class PreparedData:
  """Prepared data sets in `config.data_dir`: that of `config.data`, or the one that a stage names."""

  def where(self, config: ConfigDict) -> str:
    return f"prepared in {config.data_dir}"

  def check(self, config: ConfigDict, stage: Stage) -> dict[str, Any]:
    data, name = config.data, stage.data or config.data.name
    val_identities = 0 if stage.data else data.val_identities
    for split in {"train", "test", config.select_on} - {"last"}:
      splits.check_split(
        config.data_dir, name, data.image_size, split, tokenizer=data.tokenizer, val_identities=val_identities
      )
    return splits.dataset_info(config.data_dir, name, data.image_size, data.tokenizer)

  def steps_per_epoch(self, config: ConfigDict, stage: Stage) -> int:
    split = _open(config, stage, "train", in_memory_bytes=0)
    return sampling.make_sampler(split, stage.batch_size, config.seed, **stage.sampler).steps_per_epoch

  def train_split(self, config: ConfigDict, stage: Stage) -> splits.Split:
    return self.open_split(config, stage, "train")

  def batches(self, config: ConfigDict, stage: Stage, split: Any, shard: Shard) -> loader.Batches:
    return loader.Batches(
      split, stage.batch_size, seed=config.seed, num_epochs=stage.epochs, caption_lengths=config.data.caption_lengths,
      sampler=stage.sampler, shard=shard,
    )  # fmt: skip

  def open_split(self, config: ConfigDict, stage: Stage, split: str) -> splits.Split:
    # One of several processes reads no more than its shard.
    return _open(config, stage, split, in_memory_bytes=splits.IN_MEMORY_BYTES if jax.process_count() == 1 else 0)


PREPARED = PreparedData()


def _open(config, stage, split, in_memory_bytes):
  data = config.data
  return splits.open_split(
    config.data_dir, stage.data or data.name, data.image_size, split, tokenizer=data.tokenizer,
    val_identities=0 if stage.data else data.val_identities, seed=config.seed, in_memory_bytes=in_memory_bytes,
  )  # fmt: skip
