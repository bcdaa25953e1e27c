"""Scores a finished entry on the test split: the model of its last stage, or one that is derived from it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from tireid_jax.data.toy.pool import splits
from tireid_jax.evaluation import embedding, score_file
from tireid_jax.study import flops, further, gap, toy_data
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
  study = config.study
  if not study.further_results:
    return {"gallery_persons": study.gallery_persons}
  further_results = {"held_out": study.held_out, "domains": further.domains(config)}
  if study.held_out == splits.NAME:
    further_results["pool"] = [study.pool_seed, study.pool_held_out]
  elif study.held_out in toy_data.NAMES:
    further_results["toy"] = toy_data.settings_of(config, study.held_out)
  return {"gallery_persons": study.gallery_persons, "further_results": further_results}


def score(entry: Entry) -> Record:
  """Returns the Record of an entry whose cells are finished."""
  data = {"digest": entry.digest, "seed": entry.seed, "scoring": settings(entry.cell.config), "cost": cost(entry)}
  study = entry.cell.config.study
  if not (entry.row.derived or study.gallery_persons or study.further_results):
    return _read_result(entry, data)
  scored = DERIVED[entry.row.derived](entry)
  tested_on = entry.cell.config.copy_and_resolve_references()
  tested_on.data.name = entry.row.test_dataset or tested_on.data.name
  if toy_data.is_synthetic(tested_on):
    toy_data.make(tested_on, tested_on.data.name)
  image, text, split = further.encode(scored.loaded, tested_on)
  found = further.scores_of(image, text, split, study.gallery_persons)
  data |= {"dataset": split.name, "fingerprint": split.fingerprint, "split": split.split, **scored.facts}
  if study.further_results and not entry.row.test_dataset:
    data["further"] = further.of_model(scored.loaded, entry.cell.config, image, text)
    if entry.row.derived == "zero_shot" and toy_data.is_synthetic(tested_on):
      data["gap"] = gap.measure(scored.loaded, tested_on)
  return Record({**data, **embedding.summarize(found)}, found["t2i"])


def _read_result(entry, data):
  result = entry.cell.result()
  assert result is not None  # its cells are finished
  ranks = score_file.read(entry.cell.stage_folder / layout.RANKS_FILE)
  data |= {name: result[name] for name in ("dataset", "fingerprint", "split", "t2i", "i2t", "selection", "step")}
  return Record(data, ranks.scores["t2i"])


def _zero_shot(entry):
  loaded = loading.load_stage(None, "pretrained", config=entry.cell.config)
  return Scored(loaded, {"step": 0, "selection": None})


def _last_stage(entry):
  result = entry.cell.result()
  assert result is not None  # its cells are finished
  return _trained(entry)._replace(facts={"step": result["step"], "selection": result["selection"]})


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

  if config.select_on != "val":
    return at(DEFAULT_FRACTION)._replace(facts={**end.facts, "fraction_fine_tuned": DEFAULT_FRACTION})
  direction, _, metric = config.select_by.partition("/")
  validations = [
    embedding.summarize(further.scores_of(*further.encode(at(fraction).loaded, config, "val"), 0))
    for fraction in FRACTIONS
  ]
  best = int(np.argmax([validation[direction][metric] for validation in validations]))
  facts = {**end.facts, "selection": validations[best], "fraction_fine_tuned": FRACTIONS[best]}
  return at(FRACTIONS[best])._replace(facts=facts)


# Row.derived: entry -> the model to be scored.
DERIVED: dict[str, Callable[[Entry], Scored]] = {
  "": _last_stage,
  "zero_shot": _zero_shot,
  "without_prompts": _without_prompts,
  "interpolated": _interpolated,
  "transfer": _trained,
}


def cost(entry: Entry) -> dict[str, Any]:
  """Returns {"steps", "flops", "seconds", "trainable_parameters"} of all stages but the pre-training.

  The number of parameters is that of the last stage.
  """
  stages = [(cell, result) for cell in entry.needed() if cell.number > 0 and (result := cell.result())]
  results = [result for _, result in stages]
  return {
    "steps": sum(result["steps"] for result in results),
    "flops": sum(result["steps"] * flops.per_step(cell) for cell, result in stages),
    "seconds": round(sum(result["seconds"] for result in results), 1),
    "trainable_parameters": results[-1]["trainable_parameters"] if results else 0,
  }
