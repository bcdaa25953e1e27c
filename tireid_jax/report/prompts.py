"""The section on learned prompts: how far they moved, and the words nearest to those of the text encoder."""

import os
from typing import Any

import jax
import numpy as np

from tireid_jax.config import values as config_lib
from tireid_jax.data import tokenizer
from tireid_jax.data.prepared.splits import Split
from tireid_jax.errors import UserError
from tireid_jax.evaluation import prompt_words
from tireid_jax.reporting import page, sections
from tireid_jax.storage import locations
from tireid_jax.training import initialization, stages
from tireid_jax.training import origin as origin_lib
from tireid_jax.training.loading import Loaded
from tireid_jax.workdir import best_checkpoint, layout

HEADING = "Prompts"
_ENCODERS = {"image_encoder": "Image encoder", "text_encoder": "Text encoder"}
# Words that are shown for each prompt token.
_NUM_WORDS = 3


def prompts_section(loaded: Loaded, split: Split, workdir: str | os.PathLike, stage: str) -> sections.Section:
  """Returns the section on the prompts of a model; a line if it has none.

  Args:
    loaded: the model.
    split: whose captions supply the words of the data set.
    workdir: of the run.
    stage: of the model: "0", "1", "2" or "pretrained".
  """
  tokens = {name: _blocks(tree["tokens"]) for name, tree in loaded.variables["prompts"].items()}
  if not tokens:
    return sections.Section(HEADING, "This model has no prompts.")
  first, why = _first_prompts(loaded, workdir, stage)
  parts: list[Any] = []
  if first:
    parts += [_moved(_ENCODERS[name], first[name], tokens[name]) for name in _ENCODERS if name in tokens]
  if "text_encoder" in tokens:
    try:
      parts += _words(loaded, tokens["text_encoder"], split)
    except UserError as error:  # of a tokenizer that is not there any more
      why = f"{why} There are no nearest words: {error}.".strip()
  else:
    why = f"{why} The text encoder has none, so there are no nearest words.".strip()
  shapes = ", ".join(
    f"{value.shape[1]} of width {value.shape[2]} in each of {value.shape[0]} blocks of the {_ENCODERS[name].lower()}"
    for name, value in tokens.items()
  )
  return sections.Section(HEADING, f"Prompt tokens: {shapes}. {why}".strip(), parts)


def _blocks(tokens):
  """Returns f32[blocks, P, D] of a variable of any placement."""
  tokens = np.asarray(tokens, np.float32)
  return tokens.reshape(-1, *tokens.shape[-2:])


def _first_prompts(loaded, workdir, stage):
  """Returns ({encoder: f32[blocks, P, D]} as randomly initialised, ""), or ({}, why they are unknown)."""
  found = _initialized_in(workdir, stage)
  if isinstance(found, str):
    return {}, found
  config, number = found
  key = jax.random.fold_in(jax.random.key(config.seed), number)  # as training.program derives it
  first = jax.jit(lambda: initialization.random_variables(loaded.model, key)["prompts"])()
  return {name: _blocks(tree["tokens"]) for name, tree in first.items()}, ""


def _initialized_in(workdir, stage):
  """Returns (config, number) of the stage that initialised the prompts, or why it is unknown."""
  folder = layout.stage_folder(workdir, int(stage))
  while True:
    try:
      metadata = best_checkpoint.read_metadata(folder)
    except UserError as error:
      return f"How far they moved is unknown: {error}."
    origin = metadata.get("origin")
    if origin is None:
      return "How far they moved is unknown: an earlier version did not record what the stage started from."
    if origin["kind"] != "checkpoint":
      break
    before = origin_lib.folder_of(workdir, origin)
    try:
      earlier = best_checkpoint.read_metadata(locations.check(before))
    except UserError as error:
      return f"How far they moved is unknown, since they come from {origin['folder']}: {error}."
    if not _has_prompts(earlier):
      break
    folder = before
  return config_lib.from_json(metadata["config"]), metadata["stage"]


def _has_prompts(metadata):
  config = config_lib.from_json(metadata["config"])
  has_any = config.prompts.image_length or config.prompts.text_length
  return bool(has_any) and stages.from_config(config, metadata["stage"]).use_prompts


def _moved(heading, first, last):
  """Returns bars of how far the prompts of each block moved: the mean over their tokens of the distance."""
  distance = np.linalg.norm(last - first, axis=-1).mean(axis=1)  # [blocks]
  before, after = (np.linalg.norm(tokens, axis=-1).mean(axis=1) for tokens in (first, last))
  longest = max(distance.max(), 1e-12)
  bars = [
    page.Bar(f"block {block}", 100 * float(moved / longest), f"{moved:.3f}, from norm {start:.3f} to {end:.3f}")
    for block, (moved, start, end) in enumerate(zip(distance, before, after, strict=True), start=1)
  ]
  return sections.Bars(f"{heading}: mean distance of its prompt tokens from where they started", bars)


def _words(loaded, tokens, split):
  """Returns tables of the words nearest to each prompt token, among all whole words and among those of the captions."""
  tokenize = tokenizer.load_tokenizer(loaded.config.data.tokenizer)
  table = np.asarray(loaded.variables["params"]["text_encoder"]["token_embedding"]["embedding"], np.float32)
  texts = tokenize.words()
  everything = np.array(sorted(texts), int)
  in_captions = np.intersect1d(everything, split.tokens)
  blocks, length, width = tokens.shape
  found = {
    name: prompt_words.nearest_words(tokens.reshape(-1, width), table, candidates, _NUM_WORDS)
    for name, candidates in (("in the vocabulary", everything), ("in the captions", in_captions))
    if len(candidates)
  }
  if not found:
    return []
  rows = [
    {
      "prompt token": page.Cell(f"block {block + 1}, token {token + 1}"),
      **{name: _cell(words, block * length + token, texts) for name, words in found.items()},
    }
    for block in range(blocks)
    for token in range(length)
  ]
  chance = " and ".join(f"{words.chance:.2f} {name}" for name, words in found.items())
  hint = (
    f"With cosine similarities to their embeddings. The nearest word of a random vector exceeds {chance} in 5 of 100 "
    f"cases; prompt tokens that exceed it too are bold. Words are embedded at the input of block 1, so those of later "
    f"blocks mean less."
  )
  return [sections.Rows("Text encoder: nearest words of each prompt token", rows, hint)]


def _cell(words, index, texts):
  named = [
    f"{texts[int(token)]} {similarity:.2f}"
    for token, similarity in zip(words.ids[index], words.similarities[index], strict=True)
  ]
  return page.Cell(", ".join(named), "highest" if words.similarities[index, 0] > words.chance else "")
