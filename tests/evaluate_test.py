"""Evaluation of weights without training, which is the first check of real weights."""

import dataclasses

import numpy as np
import pytest

from tests.data import vocabularies
from tests.data.trees import make_tree
from tests.forked import run, succeed
from tests.models import forms, trees
from tireid_jax import metrics
from tireid_jax.data.prepared import splits
from tireid_jax.data.transforms.augment import normalise
from tireid_jax.models import pretrained

SIZE = (24, 8)
NUM_IDS = len(vocabularies.BYTES) * 2 + len(vocabularies.FEW_MERGES) + len(vocabularies.SPECIALS)
# A CLIP with the small vocabulary of the tokenizer below.
VARIANT = dataclasses.replace(trees.SMALL, vocabulary_size=NUM_IDS, text_length=77, end_token=NUM_IDS - 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """Prepares a data set with a small tokenizer and matching weights in OpenAI's format; returns (folder, flags)."""
  folder = tmp_path_factory.mktemp("project")
  make_tree(folder / "raw", "rstp_reid")
  vocabularies.make_tokenizer(folder / "words")
  forms.write_openai(folder, trees.clip_tensors(VARIANT), name="ViT.pt")
  flags = [
    "--config=configs/rstp.py", f"--config.data_dir={folder}/data", f"--config.data.image_size={SIZE}".replace(" ", ""),
    f"--config.data.tokenizer={folder}/words", "--config.model.variant=from_weights",
    "--config.evaluation.batch_size=16",
  ]  # fmt: skip
  succeed("data.prepare", *flags, f"--raw={folder}/raw")
  return folder, flags


def test_imported_weights_are_evaluated_with_their_own_sizes_and_tokenizer(project):
  folder, flags = project
  weights = f"--config.pretrained={folder}/ViT.pt"
  printed = succeed("evaluate", *flags, weights, "--stage=pretrained", f"--dump={folder}/dump.npz")
  split = splits.open_split(folder / "data", "rstp_reid", SIZE, "test", tokenizer=f"{folder}/words")
  model, variables = pretrained.load(folder / "ViT.pt", SIZE)
  image = model.apply(variables, normalise(split.images), method="encode_image")
  text = model.apply(variables, split.tokens, method="encode_text")
  dump = np.load(folder / "dump.npz")
  np.testing.assert_allclose(dump["image_embeddings"], image, atol=2e-5 * np.abs(image).max())
  np.testing.assert_allclose(dump["text_embeddings"], text, atol=2e-5 * np.abs(text).max())
  expected = metrics.retrieval_metrics(text, image, split.person_id[split.caption_image], split.person_id)
  row = next(line for line in printed.splitlines() if line.startswith("text to image"))
  assert row.split()[3:] == [f"{value:.2f}" for value in expected.values()]


def test_a_model_with_another_vocabulary_than_the_captions_is_an_error(project):
  folder, flags = project
  other = dataclasses.replace(VARIANT, vocabulary_size=NUM_IDS - 1, end_token=NUM_IDS - 2)
  forms.write_openai(folder, trees.clip_tensors(other), name="other.pt")
  done = run("evaluate", *flags, f"--config.pretrained={folder}/other.pt", "--stage=pretrained")
  assert done.returncode == 2
  (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  assert f"{NUM_IDS} ids, end token {NUM_IDS - 1}), but the model has {NUM_IDS - 1} ids" in line
  assert "set --config.data.tokenizer" in line
