"""Scores a finished entry on the test split: the model of its last stage, or one that is derived from it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from tireid_jax.data.prepared.splits import Split
from tireid_jax.evaluation import embedding, score_file
from tireid_jax.metrics import QueryScores
from tireid_jax.study.entries import Entry
from tireid_jax.study.records import Record
from tireid_jax.training import loading
from tireid_jax.training.loading import Loaded
from tireid_jax.training.model import build_model
from tireid_jax.workdir import layout

# Fractions of the fine-tuned weights, from which validation selects one.
FRACTIONS = tuple(number / 10 for number in range(11))
# Without a validation split (WiSE-FT's recommendation, arXiv 2109.01903).
DEFAULT_FRACTION = 0.5


class Scored(NamedTuple):
  """A model to be scored.

  Attributes:
    loaded: the model.
    facts: JSON data on it for the record: "step", "selection" and whatever else was chosen.
  """

  loaded: Loaded
  facts: dict[str, Any]

  def with_model(self, **changes: Any) -> "Scored":
    """Returns the same with other fields of the loaded model."""
    return self._replace(loaded=self.loaded._replace(**changes))


def settings(config: Any) -> dict[str, Any]:
  """Returns what decides how entries are scored, as stored with each record."""
  return {}


def score(entry: Entry) -> Record:
  """Returns the Record of an entry whose cells are finished."""
  data = {"digest": entry.digest, "seed": entry.seed, "scoring": settings(entry.cell.config), "cost": cost(entry)}
  if not entry.row.derived:
    return _read_result(entry, data)
  scored = DERIVED[entry.row.derived](entry)
  tested_on = entry.cell.config.copy_and_resolve_references()
  tested_on.data.name = entry.row.test_dataset or tested_on.data.name
  found, split = _score_split(scored, "test", tested_on)
  data |= {"dataset": split.name, "fingerprint": split.fingerprint, "split": split.split, **scored.facts}
  return Record({**data, **embedding.summarize(found)}, found["t2i"])


def _read_result(entry, data):
  result = entry.cell.result()
  assert result is not None  # its cells are finished
  ranks = score_file.read(entry.cell.stage_folder / layout.RANKS_FILE)
  data |= {name: result[name] for name in ("dataset", "fingerprint", "split", "t2i", "i2t", "selection", "step")}
  return Record(data, ranks.scores["t2i"])


def _score_split(scored, name, config) -> tuple[dict[str, QueryScores], Split]:
  loaded = scored.loaded
  split = loading.open_split(loaded, name, data=config)
  encoders = embedding.Encoders(loaded.model, loaded.mesh, config.evaluation.batch_size)
  _, _, scores = encoders.score(loaded.variables, split, config.data.caption_lengths, show_progress=True)
  return scores, split


def _zero_shot(entry):
  loaded = loading.load_stage(None, "pretrained", config=entry.cell.config)
  return Scored(loaded, {"step": 0, "selection": None})


def _trained(entry):
  loaded = loading.load_stage(entry.cell.folder, str(entry.cell.number))
  return Scored(loaded, {"step": loaded.step, "selection": None})


def _without_prompts(entry):
  trained, config = _trained(entry), entry.cell.config
  precision = config[f"stage{entry.cell.number}"].precision
  model = build_model(config, trained.loaded.model.variant, use_prompts=False, precision=precision)
  return trained.with_model(model=model, variables={**trained.loaded.variables, "prompts": {}})


def _interpolated(entry):
  """Returns the model whose weights are the mean of the pretrained and the fine-tuned ones that validates best."""
  config, start, end = entry.cell.config, _zero_shot(entry), _trained(entry)
  encoders = ("image_encoder", "text_encoder")
  first, last = ({name: one.loaded.variables["params"][name] for name in encoders} for one in (start, end))

  def at(fraction):
    mixed = jax.tree.map(lambda a, b: (1 - fraction) * a + fraction * b, first, last)
    return end.with_model(variables={**end.loaded.variables, "params": {**end.loaded.variables["params"], **mixed}})

  if config.select_on == "last":
    return at(DEFAULT_FRACTION)._replace(facts={**end.facts, "fraction_fine_tuned": DEFAULT_FRACTION})
  direction, _, metric = config.select_by.partition("/")
  validations = [embedding.summarize(_score_split(at(fraction), config.select_on, config)[0]) for fraction in FRACTIONS]
  best = int(np.argmax([validation[direction][metric] for validation in validations]))
  facts = {**end.facts, "selection": validations[best], "fraction_fine_tuned": FRACTIONS[best]}
  return at(FRACTIONS[best])._replace(facts=facts)


# Row.derived: entry -> the model to be scored.
DERIVED: dict[str, Callable[[Entry], Scored]] = {
  "zero_shot": _zero_shot,
  "without_prompts": _without_prompts,
  "interpolated": _interpolated,
  "transfer": _trained,
}


def cost(entry: Entry) -> dict[str, Any]:
  """Returns {"steps", "seconds", "trainable_parameters"} of all stages but the pre-training.

  The number of parameters is that of the last stage.
  """
  results = [result for cell in entry.needed() if cell.number > 0 and (result := cell.result())]
  return {
    "steps": sum(result["steps"] for result in results),
    "seconds": round(sum(result["seconds"] for result in results), 1),
    "trainable_parameters": results[-1]["trainable_parameters"] if results else 0,
  }
