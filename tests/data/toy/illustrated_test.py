"""ToyIllustrated: other persons than those of ToyPEDES, in drawings that show what their captions mention."""

import io
import json

import numpy as np
from PIL import Image

from tireid_jax.data import toy
from tireid_jax.data.toy import illustrated
from tireid_jax.data.toy.attributes import ILLUSTRATED, sample_people
from tireid_jax.data.toy.domains import DOMAINS

SIZES = {"num_train_ids": 2, "num_val_ids": 1, "num_test_ids": 2}


def people(num, domain=ILLUSTRATED):
  return sample_people(3, {"train": num, "val": 0, "test": 0}, domain)["train"]


def draw(person, style, seed=0):
  data, view, visible = illustrated.illustrate(np.random.default_rng(seed), person, style)
  return np.asarray(Image.open(io.BytesIO(data))), view, visible


def test_each_image_of_a_person_has_another_style_and_captions_of_what_it_shows(tmp_path):
  folder = toy.write_persons(tmp_path, "toy_illustrated", seed=4, images_per_id=3, **SIZES, num_workers=1)
  truths = json.loads((folder / "attributes.json").read_text())
  entries = json.loads((folder / "reid_raw.json").read_text())
  assert folder.name == "ToyIllustrated"
  assert [entry["id"] for entry in entries] == np.repeat([1, 2, 3, 4, 5], 3).tolist()
  for person in range(1, 6):
    styles = {entry["file_path"].split("/")[0] for entry in entries if entry["id"] == person}
    assert len(styles) == 3
    assert styles <= set(DOMAINS["toy_illustrated"].cameras)
  for truth in truths.values():
    for mentioned in truth["mentioned"]:
      assert mentioned.keys() <= set(truth["visible"])


def test_persons_are_not_those_of_toy_pedes():
  assert people(20)[0].attributes != people(20, DOMAINS["toy_pedes"].number)[0].attributes


def test_what_is_visible_changes_the_picture():
  person = next(one for one in people(60) if "hat" in one.attributes)
  before, _, visible = draw(person, "bold")
  assert {"hat_colour", "top_colour"} <= visible
  for name in ("hat_colour", "top_colour"):
    painted = {**person.paint, name: (255, 0, 255)}
    after = draw(type(person)(person.attributes, person.shades, painted, person.bag_side), "bold")[0]
    assert np.any(np.abs(after.astype(int) - before) > 60), name


def test_styles_differ():
  person = people(1)[0]
  assert len({draw(person, style)[0].tobytes() for style in illustrated.STYLES}) == len(illustrated.STYLES)
