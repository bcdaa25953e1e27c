"""An index of shards names files of weights beside it, and nothing else."""

import json

import pytest

from tests.models import forms, trees
from tireid_jax.models.weights import files


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("../secret.safetensors", "names '../secret.safetensors', which is no file of weights beside it"),
    ("/etc/hosts", "names '/etc/hosts', which is no"),
    ("folder/x.safetensors", "names 'folder/x.safetensors', which is no"),
    ("..", "names '..', which is no"),
    ("", "names '', which is no"),
    ("a\0b", "which is no file of weights"),
    ("a" * 300, "which is no file of weights"),
    ("model.safetensors.index.json", "names 'model.safetensors.index.json', which is no file of weights beside it"),
    ("copy", "names 'copy', which is an index of shards itself"),
    ("gone.safetensors", "names the shard 'gone.safetensors', which is not there"),
    (3, "is damaged (a shard's name is no text)"),
    (["a"], "is damaged"),
  ],
)
def test_an_index_that_names_anything_else_is_refused(tmp_path, name, message):
  folder = tmp_path / "model"
  folder.mkdir()
  forms.write_safetensors(tmp_path, {}, name="secret.safetensors")
  forms.write_shards(folder, trees.clip_tensors(trees.SMALL))
  index = folder / "model.safetensors.index.json"
  data = json.loads(index.read_text())
  data["weight_map"]["logit_scale"] = name
  index.write_text(json.dumps(data))
  (folder / "copy").write_text(index.read_text())
  with pytest.raises(ValueError) as error:
    files.open_weights(index)
  assert message in str(error.value)
  assert str(index) in str(error.value)


@pytest.mark.parametrize("content", ['{"weight_map": 3}', '{"weight_map": ' + "[" * 100_000])
def test_an_index_that_is_damaged_is_one_line(tmp_path, content):
  (tmp_path / "model.safetensors.index.json").write_text(content)
  with pytest.raises(ValueError, match=r"index\.json is damaged .*; download it again"):
    files.open_weights(tmp_path / "model.safetensors.index.json")
