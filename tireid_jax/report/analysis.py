"""What a model does on a split: its scores, ranked examples, and the sections of the report."""

import dataclasses
import os

import numpy as np

from tireid_jax import metrics
from tireid_jax.data.prepared.splits import Split
from tireid_jax.evaluation import confusions, embedding, ranked_examples, similarities
from tireid_jax.report import attributes, pairs, prompts, words
from tireid_jax.reporting import sections
from tireid_jax.training.loading import Loaded

# Pairs of confused identities that are shown.
NUM_CONFUSED = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
  """Scores in both directions, example queries, and further sections of the report."""

  scores: dict[str, metrics.QueryScores]
  queries: list[ranked_examples.RankedQuery]
  sections: list[sections.Section]


def analyse(
  loaded: Loaded,
  split: Split,
  *,
  workdir: str | os.PathLike,
  stage: str,
  num_examples: int = 12,
  persons: dict[int, str] | None = None,
  raw: str = "",
  data_dir: str = "",
  show_progress: bool = False,
) -> Analysis:
  """Returns the Analysis of a model on a split.

  Args:
    loaded: from `loading.load_stage`.
    split: of a prepared data set that the model fits.
    workdir: of its run.
    stage: of it: "0", "1", "2" or "pretrained".
    num_examples: ranked example queries, a third each of the best, the worst and random ones.
    persons: annotated name of an identity, where it has one.
    raw: folder of raw ToyPEDES; "" for that next to `data_dir`.
    data_dir: folder of prepared data sets; "" for that of the model's config.
    show_progress: whether to show progress bars.
  """
  config = loaded.config
  encoders = embedding.Encoders(loaded.model, loaded.mesh, config.evaluation.batch_size)
  image, text, scores = encoders.score(
    loaded.variables, split, config.data.caption_lengths, show_progress=show_progress
  )
  t2i = scores["t2i"]
  chosen = ranked_examples.choose_queries(t2i, num=num_examples, seed=config.seed) if num_examples else []
  queries = ranked_examples.rank_queries(chosen, t2i, image, text, split) if chosen else []
  if queries:
    queries = words.with_words(queries, [query for _, query in chosen], loaded, encoders, image, text, split)
  found = similarities.similarities(text, image, t2i.query_ids, split.person_id, show_progress=show_progress)
  confused = confusions.most_confused(t2i, found.hardest_index, split.person_id, NUM_CONFUSED)
  num_wrong = int(np.count_nonzero(t2i.first_rank > 1))
  further = [
    pairs.confused_section(confused, split, num_wrong, persons or {}),
    pairs.similarity_section(found),
    attributes.attributes_section(split, t2i, found, raw=raw, data_dir=data_dir or config.data_dir),
    prompts.prompts_section(loaded, split, workdir, stage),
  ]
  return Analysis(scores, queries, [section for section in further if section])
