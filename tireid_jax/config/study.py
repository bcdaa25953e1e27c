"""The fields of `study` in the config: how the entries of a table are scored, tuned and, on synthetic data, varied."""

import dataclasses

from tireid_jax.fields import at_least, field, must

_ABOVE_0 = must("a tuple of numbers above 0", lambda values: all(value > 0 for value in values))


@dataclasses.dataclass(frozen=True)
class Study:
  """What `python -m tireid_jax.study` does beyond training each row as the config says."""

  gallery_persons: int = field(
    0, "test queries are ranked in fixed galleries of about this many persons; 0 for the whole test split", at_least(0)
  )
  further_results: bool = field(
    False, "also measure the drift of the encoders, and retrieval on `held_out`, other `domains` and `test_domains`"
  )
  held_out: str = field(
    "",
    'data set that stands for the pre-training domain, whose test split is scored; "toy_pool" for the held-out '
    "pictures of `python -m tireid_jax.pretrain`; with pretrained=stage0, the data set of stage 0 stands for it "
    'instead; "" for none',
  )
  pool_seed: int = field(0, "pool.seed of the pre-training, for held_out=toy_pool", at_least(0))
  pool_held_out: int = field(1_000, "pool.num_held_out of the pre-training, for held_out=toy_pool", at_least(1))
  domains: tuple[str, ...] = field((), "data sets of persons: each trains models, and tests those of the others")
  test_domains: tuple[str, ...] = field(
    (), "data sets of persons that test the models of all `domains`, but train none"
  )
  train_ids: tuple[int, ...] = field((), "numbers of training persons that table `main` varies", _ABOVE_0)
  val_ids: int = field(0, "synthetic persons of the validation split; 0 for toy.num_val_ids", at_least(0))
  test_ids: int = field(0, "synthetic persons of the test split; 0 for toy.num_test_ids", at_least(0))
  learning_rates: tuple[float, ...] = field(
    (), "factors of the learning rate that validation selects from, for every row alike; () to train as configured",
    _ABOVE_0,
  )  # fmt: skip
  epochs: tuple[int, ...] = field(
    (), "numbers of epochs that validation selects from, each with its full schedule", _ABOVE_0
  )
  rates_first: bool = field(
    False, "select the learning rate at the shortest of `epochs`, and then the length at that rate, not both together"
  )
  max_extensions: int = field(
    2, "while the longest of `epochs` wins, one three times as long is added, at most so many times", at_least(0)
  )
  tune_ids: int = field(
    0,
    "synthetic training persons, of the first of `domains`, with which rows are tuned once for all `train_ids` and "
    "domains; 0 to tune them for each",
    at_least(0),
  )
