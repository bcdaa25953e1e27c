"""Words that a run has not been trained on are found from the captions of its stages."""

import numpy as np
import pytest

from configs import toy
from tests.serve import serving
from tireid_jax.data.prepared import splits
from tireid_jax.errors import UserError
from tireid_jax.serve import vocabulary
from tireid_jax.serve.vocabulary import Vocabulary
from tireid_jax.workdir import layout

CAPTIONS = {"toy_generic": ["A red  Kettle."], "toy_pedes": ["a woman's coat", "a T-shirt &amp; 2 bags"]}


def test_unseen_words_are_those_of_no_caption_each_once_and_without_endings():
  known = Vocabulary(CAPTIONS["toy_pedes"])
  assert known.unseen("A WOMAN’s zebra, the Zebra-coat they'll shirt 7") == ["zebra", "the", "they"]
  assert known.unseen("t bags") == []


def test_without_captions_every_word_counts_as_seen():
  assert Vocabulary([]).unseen("zebra") == []


@pytest.fixture
def workdir(tmp_path, monkeypatch):
  def open_split(data_dir, name, image_size, split, **_):
    assert split == "train"
    return splits.Split(**{
      **{field: np.zeros(1) for field in splits.Split.__dataclass_fields__}, "captions": CAPTIONS[name]
    })  # fmt: skip

  monkeypatch.setattr(splits, "open_split", open_split)
  return tmp_path


@pytest.mark.parametrize(
  ("stage", "pretrained", "init_from", "unseen"),
  [
    ("2", "stage0", "stage1", []),
    ("2", "CLIP", "stage1", ["kettle"]),
    ("2", "stage0", "random", ["kettle"]),
    ("2", "stage0", "pretrained", []),
    ("0", "stage0", "stage1", ["woman"]),
    ("pretrained", "stage0", "stage1", ["woman"]),
    ("pretrained", "CLIP", "stage1", []),
  ],
)
def test_captions_of_the_stages_that_led_to_a_model_count(workdir, stage, pretrained, init_from, unseen):
  config = toy.get_config()
  config.pretrained, config.stage2.init_from = pretrained, init_from
  layout.write_config(workdir, config, 2)
  assert vocabulary.of_run(workdir, stage).unseen("woman kettle") == unseen


def test_missing_training_data_are_an_error_that_the_command_logs(tmp_path, monkeypatch):
  config = toy.get_config()
  config.data_dir = str(tmp_path / "none")
  layout.write_config(tmp_path, config, 2)
  with pytest.raises(UserError, match="is not prepared"):
    vocabulary.of_run(tmp_path, "2")


def test_the_api_reports_words_that_are_in_no_caption(searcher):
  with serving.make_client(searcher, vocabulary=Vocabulary(["a red coat"])) as client:
    answer = client.post("/api/search", json={"text": "a red zebra"}).json()
  assert answer["unseen"] == ["zebra"]
