import itertools

import numpy as np
import pytest

from tests.models.trees import SMALL, write_hf_clip
from tireid_jax.models import pretrained
from tireid_jax.models.variants import patch_grid


@pytest.mark.parametrize(("image_size", "stride", "grid"), [
  ((16, 16), 0, (4, 4)), ((18, 11), 0, (4, 2)), ((16, 8), 2, (7, 3)), ((17, 11), 3, (5, 3)), ((9, 6), 1, (6, 3)),
  ((16, 16), 4, (4, 4)),
])  # fmt: skip
def test_patch_embeddings_equal_a_strided_convolution(tmp_path, image_size, stride, grid):
  kernel = write_hf_clip(tmp_path, SMALL)["vision_model.embeddings.patch_embedding.weight"]
  model, variables = pretrained.load(tmp_path, image_size, stride=stride)
  assert patch_grid(image_size, 4, stride) == grid
  images = np.random.default_rng(0).standard_normal((2, *image_size, 3)).astype(np.float32)
  patches = model.apply(variables, images, method=lambda clip, images: clip.image_encoder._patches(images))
  embedded = patches @ variables["params"]["image_encoder"]["patch_embedding"]["kernel"]
  step = stride or 4
  expected = [
    np.einsum("bhwc,dchw->bd", images[:, row * step : row * step + 4, column * step : column * step + 4], kernel)
    for row, column in itertools.product(*map(range, grid))
  ]
  np.testing.assert_allclose(embedded, np.stack(expected, axis=1), atol=2e-6)
