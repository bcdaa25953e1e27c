"""Scores a finished entry on the test split."""

from typing import Any

from tireid_jax.evaluation import embedding, score_file
from tireid_jax.study.entries import Entry
from tireid_jax.study.records import Record
from tireid_jax.training import loading
from tireid_jax.training.experiment import open_split
from tireid_jax.training.stages import from_config
from tireid_jax.workdir import layout


def settings(config: Any) -> dict[str, Any]:
  """Returns what decides how entries are scored, as stored with each record."""
  return {}


def score(entry: Entry) -> Record:
  """Returns the Record of an entry whose cells are finished."""
  data = {"digest": entry.digest, "seed": entry.seed, "scoring": settings(entry.cell.config)}
  if entry.row.derived == "zero_shot":
    return _score_weights(entry, data)
  return _read_result(entry, data)


def _read_result(entry, data):
  result = entry.cell.result()
  assert result is not None  # its cells are finished
  ranks = score_file.read(entry.cell.stage_folder / layout.RANKS_FILE)
  data |= {name: result[name] for name in ("dataset", "fingerprint", "split", "t2i", "i2t", "selection", "step")}
  return Record({**data, "cost": cost(entry)}, ranks.scores["t2i"])


def _score_weights(entry, data):
  config = entry.cell.config
  model, variables, _, mesh, _ = loading.load_stage(None, "pretrained", config=config)
  split = open_split(config, from_config(config, entry.cell.number), "test")
  encoders = embedding.Encoders(model, mesh, config.evaluation.batch_size)
  _, _, scores = encoders.score(variables, split, config.data.caption_lengths, show_progress=True)
  data |= {"dataset": split.name, "fingerprint": split.fingerprint, "split": split.split, "selection": None, "step": 0}
  return Record({**data, **embedding.summarize(scores), "cost": cost(entry)}, scores["t2i"])


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
