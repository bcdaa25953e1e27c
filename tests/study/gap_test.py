"""Gaps and further results of zero-shot retrieval, measured by a tiny model on tiny data; the oracle by hand."""

import dataclasses

import numpy as np
import pytest

from configs import toy
from tests.models.trees import write_hf_clip
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.toy.pool import store
from tireid_jax.data.toy.truth import Truth
from tireid_jax.models.variants import Tower, Variant
from tireid_jax.study import entries, gap, results, running, scoring, tables
from tireid_jax.study import groups as groups_lib
from tireid_jax.study.records import Record

VARIANT = Variant(Tower(64, 1, 1), Tower(64, 1, 1), patch_size=16, embedding_size=8, native_image_size=(32, 16))


def split_of(person_id, caption_image):
  none = np.zeros(0)
  person_id, caption_image = np.array(person_id, np.int32), np.array(caption_image, np.int32)
  return Split("toy_pedes", "test", none, person_id, person_id, 0, none, caption_image, [], [], "")


def test_the_oracle_ranks_by_named_attributes_in_the_gallery_of_the_person_and_breaks_ties_at_random():
  persons = {1: {"top": "coat", "hat": "cap"}, 2: {"top": "coat", "hat": "hat"}, 3: {"top": "vest", "hat": "cap"}}
  mentioned = [{"top": "coat"}, {"top": "coat", "hat": "hat"}, {"hat": "cap"}]
  split = split_of([1, 2, 3], [0, 1, 2])
  known = Truth(persons, mentioned)
  # The first and the last caption fit two persons each.
  assert gap.rank1(known, split, 3, ["hat", "top"]) == pytest.approx(100 * (0.5 + 1 + 0.5) / 3)
  assert gap.rank1(known, split, 3, []) == pytest.approx(100 / 3)
  assert gap.rank1(known, split, 1, ["hat", "top"]) == 100


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """Returns (group, its only result): zero-shot retrieval on four persons, with no pool on disk."""
  folder = tmp_path_factory.mktemp("study")
  write_hf_clip(folder / "clip", VARIANT)
  config = toy.get_config()
  config.pretrained, config.model.variant = str(folder / "clip"), "from_weights"
  config.data.update(image_size=(32, 16), caption_lengths=(77,))
  config.toy.update(images_per_id=2)
  config.study.update(
    train_ids=(3,), val_ids=2, test_ids=4, gallery_persons=2, held_out="toy_pool", pool_held_out=6,
    domains=("toy_pedes",), test_domains=("toy_illustrated",), learning_rates=(), epochs=(),
  )  # fmt: skip
  _, groups = groups_lib.of_table("main", config)
  entry = entries.make(tables.ZERO_SHOT, groups[0].configs[""], 0, folder)
  assert running.run_missing([entry], folder / "results") == []
  records = running.finished([entry], folder / "results")
  return groups[0], results.of_rows([tables.ZERO_SHOT], [entry], records, share_queries=False)[0]


def test_zero_shot_results_have_the_gap_and_what_is_retrieved_elsewhere(measured):
  _, result = measured
  (record,) = result.records.values()
  found = record.data["gap"]
  assert list(found) == ["held_out", "toy_pedes", "toy_illustrated"]
  for name, values in found.items():
    assert values["chance"] == pytest.approx(50), name
    assert values["distance"] > 0, name
    assert values.get("oracle", 100) > 60, name
  assert found["toy_pedes"]["zero_shot"] == pytest.approx(record.data["t2i"]["R@1"], abs=1e-3)
  further = record.data["further"]
  assert further["drift"] == pytest.approx({"image": 0, "text": 0}, abs=1e-6)
  assert {"R@1", "mAP"} <= further["held_out"].keys()
  assert further["toy_illustrated"]["R@1"] == pytest.approx(found["toy_illustrated"]["zero_shot"], abs=1e-3)


def test_each_domain_has_a_line_with_how_far_direct_fine_tuning_is_below_the_oracle(measured):
  group, result = measured
  (record,) = result.records.values()
  known = {**record.data["gap"], "toy_pedes": {"zero_shot": 20.0, "chance": 8.0, "oracle": 90.0, "distance": 0.25}}
  zero_shot = dataclasses.replace(result, records={0: Record({**record.data, "gap": known}, record.scores)})
  reached = Record({**record.data, "t2i": {"R@1": 62.5}, "gap": {}}, record.scores)
  direct = dataclasses.replace(result, row=tables.DIRECT_LONG, records={0: reached})
  lines = gap.table({group: [zero_shot, direct]})
  assert "| toy_pedes | 20.00 | 2.5 | 90.00 | 0.250 | 3: 27.5 |" in lines
  assert [line.split("|")[1].strip() for line in lines[-4:-1]] == ["pre-training, held out", *known][:1] + [
    "toy_pedes", "toy_illustrated",
  ]  # fmt: skip
  assert gap.table({group: [direct]}) == []


def test_pictures_of_another_pool_are_other_results(measured):
  group, _ = measured
  config = group.configs[""].copy_and_resolve_references()
  before = scoring.settings(config)
  config.study.pool_seed = 1
  assert scoring.settings(config) != before
  assert store.DrawnPool(0, (32, 16)).caption(0, 0) != store.DrawnPool(1, (32, 16)).caption(0, 0)


@pytest.mark.parametrize(("pretrained", "held_out"), [("stage0", "toy_generic"), ("CLIP", "toy_pool")])
def test_what_is_held_out_belongs_to_the_pre_training(pretrained, held_out):
  config = toy.get_config()
  config.pretrained = pretrained
  _, groups = groups_lib.of_table("main", config)
  assert {group.configs[""].study.held_out for group in groups} == {held_out}
