"""How far domains of synthetic persons are from pre-training, and how well their captions could be ranked at best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.toy import oracle, truth
from tireid_jax.data.toy.domains import DOMAINS
from tireid_jax.data.toy.truth import Truth
from tireid_jax.evaluation import fixed_gallery
from tireid_jax.evaluation.frechet import frechet_distance
from tireid_jax.study import further, toy_data
from tireid_jax.study.groups import Group
from tireid_jax.study.results import RowResult
from tireid_jax.training.loading import Loaded

HELD_OUT = "held_out"


def measure(loaded: Loaded, config: ConfigDict) -> dict[str, dict[str, float]]:
  """Returns {domain: {"zero_shot", "chance", "oracle", "distance"}}, with pre-training's own data as "held_out".

  The first three are R@1 in percent in the fixed galleries of the test split: of the model, of a random order, and of
  an order by the attributes of persons that a caption names, with ties broken at random. The distance is the Fréchet
  distance of image embeddings from those of pre-training's validation split; that of its test split is its noise.

  Args:
    loaded: pretrained weights.
    config: of the cell; its data set is synthetic.
  """
  held_out = config.study.held_out
  before = further.encode_other(loaded, config, held_out, "val")[0] if held_out else None
  found = {}
  for name in [*([held_out] if held_out else []), config.data.name, *further.domains(config)]:
    is_own = name == config.data.name
    image, text, split = further.encode(loaded, config) if is_own else further.encode_other(loaded, config, name)
    num_persons = config.study.gallery_persons or len(np.unique(split.person_id))
    key = HELD_OUT if name == held_out else name
    found[key] = {"zero_shot": further.scores_of(image, text, split, num_persons)["t2i"].summary()["R@1"]}
    found[key] |= _by_attributes(config if is_own else toy_data.for_test_alone(config, name), name, split, num_persons)
    if before is not None:
      found[key]["distance"] = frechet_distance(before, image)
  return found


def _by_attributes(config, name, split, num_persons):
  """Returns {"chance", "oracle"}; without the oracle for a domain that is not of persons."""
  known, names = Truth({}, []), []
  if name in DOMAINS:
    paths = [split.file_paths[index] for index in split.caption_image]
    known = truth.read(toy_data.raw_folder(config, name), split.captions, paths)
    names = sorted({name for person in known.persons.values() for name in person})
  found = {"chance": rank1(known, split, num_persons, [])}
  return found | ({"oracle": rank1(known, split, num_persons, names)} if names else {})


def rank1(known: Truth, split: Split, num_persons: int, names: Sequence[str]) -> float:
  """Returns the expected R@1, in percent, of ranking by the attributes `names`, each caption in its fixed gallery.

  Args:
    known: attributes of all persons, and those that each caption of the split mentions.
    split: the test split.
    num_persons: of a gallery.
    names: of the attributes; [] for a random order, which needs none.
  """
  caption_id = split.person_id[split.caption_image]
  total = 0.0
  for identities in fixed_gallery.groups(split.person_id, num_persons):
    own = np.flatnonzero(np.isin(caption_id, identities))
    gallery_ids = split.person_id[np.isin(split.person_id, identities)]
    queries = [known.mentioned[i] if names else {} for i in own]
    gallery = [known.persons[person] if names else {} for person in gallery_ids.tolist()]
    if len(own):
      total += len(own) * oracle.matching_rank1(queries, gallery, caption_id[own].tolist(), gallery_ids.tolist(), names)
  return total / len(caption_id)


def table(found: Mapping[Group, Sequence[RowResult]]) -> list[str]:
  """Returns the lines of a Markdown section on the gap of each domain; [] if none was measured."""
  measured: dict[str, list[dict[str, Any]]] = {}
  for results in found.values():
    for record in (record for one in results for record in one.records.values()):
      for name, values in record.data.get("gap", {}).items():
        measured.setdefault(name, []).append(values)
  if not measured:
    return []
  lines = [
    "## Gaps", "",
    "Zero-shot R@1, absolute and as a multiple of chance; R@1 of an oracle that ranks by the true attributes that a "
    "caption names; Fréchet distance of the zero-shot image embeddings from pre-training's validation split; how far "
    "direct fine-tuning is below the oracle, in percentage points, by number of training persons.", "",
    "| domain | zero-shot | × chance | oracle | distance | direct below oracle |",
    "|---|---:|---:|---:|---:|---|",
  ]  # fmt: skip
  for name, values in measured.items():
    gap = {key: float(np.mean([one[key] for one in values])) for key in values[0]}
    cells = ["pre-training, held out" if name == HELD_OUT else name, f"{gap['zero_shot']:.2f}"]
    cells += [f"{gap['zero_shot'] / gap['chance']:.1f}"]
    cells += [f"{gap[key]:.{digits}f}" if key in gap else "" for key, digits in (("oracle", 2), ("distance", 3))]
    lines.append(f"| {' | '.join([*cells, _below(gap.get('oracle'), name, found)])} |")
  return [*lines, ""]


def _below(ceiling, name, found):
  """Returns "100: 30.2; 300: 21.0", by number of training persons of the groups that are trained on a domain."""
  below = []
  for group, results in found.items():
    direct = next((one for one in results if one.row.ablation == "no_prompts_long" and not one.row.derived), None)
    reached = direct.mean("R@1") if direct else None
    if group.domain == name and ceiling is not None and reached is not None:
      below.append(f"{group.num_persons:,}: {ceiling - reached:.1f}")
  return "; ".join(below)
