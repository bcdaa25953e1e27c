"""A run with non-finite values names the step and writes a dump, in which replay finds the first non-finite value."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import rstp
from tests.data.trees import make_tree, read_entries, write_annotations
from tests.models.trees import write_hf_clip
from tireid_jax import replay
from tireid_jax.data.prepare import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.errors import DivergedError
from tireid_jax.models.variants import VARIANTS
from tireid_jax.storage import compilation_cache
from tireid_jax.training import loop

SIZE = (48, 16)
EMBEDDING = "text_model.embeddings.token_embedding.weight"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """Returns (folder, training split, index of the only caption with a word whose embedding makes it non-finite)."""
  folder = tmp_path_factory.mktemp("replay")
  root = make_tree(folder / "raw", "rstp_reid", num_ids={"train": 4, "val": 2, "test": 2})
  entries = read_entries(root, "rstp_reid")
  next(entry for entry in entries if entry["split"] == "train")["captions"][0] += " umbrella"
  write_annotations(root, "rstp_reid", entries)
  prepare("rstp_reid", folder / "raw", folder / "data", SIZE, show_progress=False)
  split = splits.open_split(folder / "data", "rstp_reid", SIZE, "train")
  tokens, counts = np.unique(split.tokens, return_counts=True)
  token = tokens[counts == 1][0]
  tensors = write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  tensors[EMBEDDING][token] = 3e38  # its square is not finite
  write_hf_clip(folder / "poisoned", VARIANTS["tiny"], image_size=48)
  save_file(tensors, folder / "poisoned" / "model.safetensors")
  return folder, split, int(np.flatnonzero((split.tokens == token).any(axis=1))[0])


def configured(folder, pretrained, **stage1):
  config = rstp.get_config()
  config.data_dir, config.data.image_size, config.model.variant = str(folder / "data"), SIZE, "tiny"
  config.pretrained = str(folder / pretrained)
  config.prompts.update(depth=1, image_length=1, text_length=1)
  config.stage1.update(epochs=3, batch_size=8, warmup_epochs=0.0, **stage1)
  config.select_on = "last"
  return config


def run_until_divergence(config, run_folder):
  """Returns (error message, dump) of a run that must diverge."""
  with pytest.raises(DivergedError) as caught:
    loop.run(config, (1,), run_folder)
  (dump,) = (run_folder / "stage1" / "diverged").iterdir()
  assert f"python -m tireid_jax.replay {dump}" in str(caught.value)
  assert not (run_folder / "stage1" / "result.json").exists()
  return str(caught.value), dump


def run_replay(dump, monkeypatch, capsys):
  """Returns (exit status, lines printed)."""
  monkeypatch.setattr(compilation_cache, "enable_persistent_cache", lambda: None)
  capsys.readouterr()
  status = 0
  try:
    replay.main(["replay", str(dump)])
  except SystemExit as end:
    status = end.code
  return status, capsys.readouterr().out.splitlines()


def test_a_caption_that_causes_nan_is_found_with_its_step_batch_and_layer(project, tmp_path, monkeypatch, capsys):
  folder, split, poisoned = project
  message, dump = run_until_divergence(configured(folder, "poisoned"), tmp_path)
  step = int(dump.name)
  assert f"loss/total is nan at step {step + 1} (loss/total nan, loss/itc nan, gradient_norm/prompts nan)" in message
  (metadata,) = [file for file in (dump / "metadata").iterdir() if "fingerprint" in file.read_text()]
  examples = json.loads(metadata.read_text())["examples"]
  captions = [example["caption"] for example in examples]
  assert poisoned in captions
  assert f"whose batch is captions {', '.join(map(str, captions))} of rstp_reid train" in message
  assert {"caption": poisoned, "image": split.file_paths[split.caption_image[poisoned]]} in examples
  status, lines = run_replay(dump, monkeypatch, capsys)
  assert (status, lines[-1]) == (0, "reproduced: the replay has non-finite values too")
  first = "the first non-finite value is in the output of text_encoder/transformer/blocks[0]/ln_1"
  assert lines[-2] == f"{first}, for 1 of 8 captions: {poisoned}"
  assert any(line.split() == ["loss/itc", "nan", "nan"] for line in lines)


def test_non_finite_weights_from_a_huge_learning_rate_are_found_with_their_step(project, tmp_path, monkeypatch, capsys):
  folder, _, _ = project
  message, dump = run_until_divergence(configured(folder, "clip", learning_rate=1e39), tmp_path)
  assert dump.name == "0"
  assert message.startswith("weights are not finite at step 1 ")
  status, lines = run_replay(dump, monkeypatch, capsys)
  assert status == 0
  assert lines[-2].startswith("the first non-finite value is in the weights after the step: prompts/image_enc")
