"""A training stage: its checked settings, and the parameter group of each variable."""

import dataclasses
from typing import Any

import jax
from ml_collections import ConfigDict

from tireid_jax import fields, losses
from tireid_jax.config.stage import StageFields
from tireid_jax.data import sampling
from tireid_jax.errors import UserError
from tireid_jax.training.optimizers import FROZEN as FROZEN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage(StageFields):
  """One stage of training, checked."""

  number: int

  def __post_init__(self):
    losses.check_names(self.losses)
    where = self.name
    fields.check(StageFields, {name: value for name, value in vars(self).items() if name != "number"}, f"{where}.")
    if self.microbatch_size < 0 or (self.microbatch_size and self.batch_size % self.microbatch_size):
      raise UserError(
        f"{where}.microbatch_size is {self.microbatch_size}, which does not divide {where}.batch_size="
        f"{self.batch_size}; set --config.{where}.microbatch_size to one of its divisors, or 0 for the whole batch"
      )
    sampling.check(self.batch_size, **self.sampler, prefix=f"{where}.")
    if "itc_plain" in self.active_losses and self._captions_together > 1:
      raise UserError(
        f"{where}.losses.itc_plain uses as negatives the captions that {where}.sampler.kind={self.sampler['kind']} "
        f"groups; use --config.{where}.losses.itc=1.0 instead, or --config.{where}.sampler.kind=captions"
      )
    if not self.active_losses:
      raise UserError(f"{where}.losses are all 0; give at least one a weight, as --config.{where}.losses.sdm=1.0")
    if self.uses_identities and not _covers(self.trains, "params/id_head"):
      raise UserError(
        f"{where} has the identity loss but does not train its head; add 'params/id_head' to --config.{where}.trains"
      )

  @property
  def name(self) -> str:
    return f"stage{self.number}"

  @property
  def active_losses(self) -> dict[str, float]:
    """{name: weight} of the losses that are computed, those of nonzero weight."""
    return {name: weight for name, weight in self.losses.items() if weight != 0}

  @property
  def num_chunks(self) -> int:
    """Number of chunks in which a batch is encoded."""
    return self.batch_size // (self.microbatch_size or self.batch_size)

  @property
  def captions_per_image(self) -> int:
    """Consecutive captions of a batch that share an image."""
    return self.sampler["captions_per_image"] if self.sampler["kind"] == "images" else 1

  @property
  def _captions_together(self) -> int:
    """Minimum number of captions per identity in a batch."""
    return self.sampler["captions_per_identity"] if self.sampler["kind"] == "identities" else self.captions_per_image

  @property
  def uses_identities(self) -> bool:
    return self.losses.get("identity", 0) != 0

  def labels(self, variables: Any) -> Any:
    """Returns the tree of `variables` with a group's name at each leaf: "frozen" if it is not trained.

    The groups are "weights", "biases", "id_head_weights", "id_head_biases", "prompts" and "logit_scale". This tree
    decides which leaves are differentiated and have optimizer state, whose gradient norms are logged and clipped, and
    which parameters are counted as trainable.
    """
    paths = {path_string(path) for path, _ in jax.tree_util.tree_leaves_with_path(variables)}
    for entry in self.trains:
      if not any(_covers((entry,), path) for path in paths):
        tops = sorted({"/".join(path.split("/")[:2]) for path in paths})
        raise UserError(f"{self.name}.trains names {entry!r}, but the model has only {', '.join(tops)}")
    labels = jax.tree_util.tree_map_with_path(lambda path, _: self._label(path_string(path)), variables)
    if set(jax.tree.leaves(labels)) == {FROZEN}:
      raise UserError(f"{self.name}.trains is {self.trains}, which leaves nothing to train")
    return labels

  def _label(self, path):
    if path == "params/logit_scale":
      return "logit_scale" if self.learns_temperature else FROZEN
    if not _covers(self.trains, path):
      return FROZEN
    if path.startswith("prompts/"):
      return "prompts"
    kind = "biases" if path.endswith("/bias") else "weights"
    return f"id_head_{kind}" if path.startswith("params/id_head/") else kind


def from_config(config: ConfigDict, number: int) -> Stage:
  """Returns stage `number` of a config; raises UserError if it has a value that no run could use."""
  values = config[f"stage{number}"].to_dict()
  fields.check_names(StageFields, values, f"stage{number}")
  return Stage(number=number, **values)


def path_string(path: tuple[Any, ...]) -> str:
  """Returns "params/image_encoder/ln_post/bias" of a JAX key path."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _covers(entries, path):
  return any(path == entry or path.startswith(f"{entry}/") for entry in entries)


def partition(variables: Any, labels: Any) -> tuple[Any, Any]:
  """Returns (trained, frozen): the same tree twice, each with None where the other has the leaf."""
  trained = jax.tree.map(lambda leaf, label: None if label == FROZEN else leaf, variables, labels)
  frozen = jax.tree.map(lambda leaf, label: leaf if label == FROZEN else None, variables, labels)
  return trained, frozen


def combine(trained: Any, frozen: Any) -> Any:
  """Inverse of `partition`."""
  return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=lambda leaf: leaf is None)


def count_parameters(variables: Any, labels: Any) -> tuple[int, int]:
  """Returns the (trained, total) numbers of parameters."""
  sizes = jax.tree.map(lambda leaf: leaf.size, variables)
  trained, _ = partition(sizes, labels)
  return sum(jax.tree.leaves(trained)), sum(jax.tree.leaves(sizes))
