"""An index of shards may list only weight files in its own folder."""

import json

import pytest

from tests.models import forms, trees
from tireid_jax.models.weights import files


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("../secret.safetensors", "lists '../secret.safetensors', which is not a weight file in its folder"),
    ("/etc/hosts", "lists '/etc/hosts', which is not"),
    ("folder/x.safetensors", "lists 'folder/x.safetensors', which is not"),
    ("..", "lists '..', which is not"),
    ("", "lists '', which is not"),
    ("a\0b", "which is not a weight file"),
    ("a" * 300, "which is not a weight file"),
    ("model.safetensors.index.json", "lists 'model.safetensors.index.json', which is not a weight file in its folder"),
    ("copy", "lists 'copy', which is itself an index of shards"),
    ("gone.safetensors", "lists the shard 'gone.safetensors', which does not exist"),
    (3, "is damaged (a shard's name is not a string)"),
    (["a"], "is damaged"),
  ],
)
def test_an_index_that_lists_anything_but_weight_files_in_its_folder_raises(tmp_path, name, message):
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
def test_a_damaged_index_raises_one_line(tmp_path, content):
  (tmp_path / "model.safetensors.index.json").write_text(content)
  with pytest.raises(ValueError, match=r"index\.json is damaged .*; download it again"):
    files.open_weights(tmp_path / "model.safetensors.index.json")
