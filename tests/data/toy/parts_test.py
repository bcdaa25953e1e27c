"""The part labels of ToyPEDES images are those of the images that were written."""

import json

import numpy as np
import pytest

from tireid_jax.data import toy
from tireid_jax.data.toy import parts
from tireid_jax.data.toy.camera import SEEN_BY
from tireid_jax.data.toy.canvas import PART_NUMBERS
from tireid_jax.errors import UserError


def test_labels_have_the_areas_by_which_attributes_were_judged_visible(tmp_path):
  root = toy.write_pedes(
    tmp_path, seed=5, num_train_ids=2, num_val_ids=1, num_test_ids=5, images_per_id=3, num_workers=1
  )
  truths = json.loads((root / "attributes.json").read_text())
  found = dict(parts.part_maps(root, "test"))
  assert list(found) == [
    entry["file_path"] for entry in json.loads((root / "reid_raw.json").read_text()) if entry["split"] == "test"
  ]
  for path, labels in found.items():
    assert labels.shape == (160, 64)
    for name, (part, smallest, _) in SEEN_BY.items():
      if f"{name}_colour" in truths[path]["attributes"]:
        is_large = np.count_nonzero(labels == PART_NUMBERS[part]) >= smallest
        assert is_large == (f"{name}_colour" in truths[path]["visible"]), (path, name)


def test_a_folder_that_is_not_toypedes_is_an_error(tmp_path):
  with pytest.raises(UserError, match=r"settings\.json"):
    next(parts.part_maps(tmp_path, "test"))
