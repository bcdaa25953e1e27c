"""Model sizes are read from a checkpoint's metadata; damaged metadata raise an error."""

import json

import pytest

from tireid_jax.models import variants

TINY = json.loads(json.dumps(variants.to_json(variants.VARIANTS["tiny"])))


def test_a_variant_is_read_back_from_json():
  assert variants.from_json(TINY) == variants.VARIANTS["tiny"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"patch_size": 0.5}, "patch_size is 0.5; it must be a whole number from 1 to 10,000,000"),
    ({"patch_size": 0}, "patch_size is 0;"),
    ({"embedding_size": True}, "embedding_size is True;"),
    ({"vocabulary_size": 10**9}, "vocabulary_size is 1000000000;"),
    ({"text_length": "77"}, "text_length is 77;"),
    ({"image": {**TINY["image"], "width": 0}}, "width is 0;"),
    ({"image": {**TINY["image"], "num_blocks": [1]}}, "num_blocks is [1];"),
    ({"text": {**TINY["text"], "num_heads": 3}}, "3 heads do not divide a width of 64"),
    ({"text": {**TINY["text"], "mlp_width": -4}}, "mlp_width is -4;"),
    ({"text": {**TINY["text"], "depth": 4}}, "a checkpoint's metadata describe no model"),
    ({"text": None}, "a checkpoint's metadata describe no model"),
    ({"colour": 1}, "a checkpoint's metadata describe no model"),
    ({"native_image_size": [96]}, "native_image_size is (96,); it must be (height, width) in whole pixels"),
    ({"native_image_size": [96, 48.0]}, "native_image_size is (96, 48.0);"),
    ({"end_token": 49_408}, "end_token is 49408; it must be one of 49408 ids"),
    ({"activation": 3}, "activation is 3;"),
    ({"layer_norm_eps": "small"}, "layer_norm_eps is small; it must be from 0 to 1"),
  ],
)
def test_an_invalid_field_raises_an_error_that_names_it(changes, message):
  with pytest.raises(ValueError) as error:
    variants.from_json({**TINY, **changes})
  assert str(error.value).startswith(message)


@pytest.mark.parametrize("field", ["patch_size", "image"])
def test_a_missing_field_raises(field):
  with pytest.raises(ValueError, match="a checkpoint's metadata describe no model"):
    variants.from_json({name: value for name, value in TINY.items() if name != field})
