"""Which model and preprocessing `open_encoders` gives."""

from tests.models.trees import write_hf_clip
from tests.search import searching
from tireid_jax.search import encoders


def test_weights_of_this_package_are_used_with_the_image_size_of_their_config(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert encoders.open_encoders(pretrained="toy_clip").image_size == (96, 48)
  write_hf_clip(tmp_path / "toy_clip", searching.VARIANT)
  assert encoders.open_encoders(pretrained="toy_clip").image_size == (384, 128)
