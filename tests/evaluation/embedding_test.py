"""Embeddings and scores of a split, and the warning for small splits."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from tireid_jax.data.transforms.augment import MEAN, STD
from tireid_jax.evaluation import embedding, score_file
from tireid_jax.parallel import sharding


@pytest.mark.parametrize(
  ("count", "expected"),
  [
    (1, "the test split of mine has 1 identity: R@1 is about 100 by chance alone, and its standard error is up to 50"),
    (
      25,
      "the test split of mine has 25 identities: R@1 is about 4 by chance alone, and its standard error is up to 10",
    ),
    (49, "has 49 identities"),
    (50, ""),
  ],
)
def test_a_split_with_few_identities_gives_a_warning(capsys, count, expected):
  person_id = np.arange(count).repeat(3)
  split = types.SimpleNamespace(name="mine", split="test", person_id=person_id, caption_image=np.arange(len(person_id)))
  embedding.warn_if_small(split)
  printed = "".join(capsys.readouterr())
  assert expected in printed if expected else printed == ""


class AngleModel:
  """Embeds inputs as vectors at an angle given by the mean colour of an image or the second token of a caption."""

  variant = types.SimpleNamespace(embedding_size=4)

  def apply(self, variables, inputs, *, method):
    if method == "encode_image":
      colours = inputs.mean(axis=(1, 2)) * jnp.array(STD) + jnp.array(MEAN)  # undoes `normalise`
      angles = 2 * colours[:, 0]
    else:
      angles = 2 * inputs[:, 1] / 255
    return variables["scale"] * jnp.stack([jnp.cos(angles), jnp.sin(angles), 0 * angles, 0 * angles], axis=1)


def make_split():
  """Returns 5 images of 3 persons, from dark to light grey, with 7 shuffled captions that each encode a grey value."""
  greys = np.array([10, 60, 110, 160, 210])
  caption_image = np.array([4, 0, 0, 1, 2, 3, 3])
  tokens = np.zeros((7, 6), np.int32)
  tokens[:, 0], tokens[:, 1] = 254, greys[caption_image]
  for caption, length in enumerate([6, 3, 4, 5, 3, 6, 4]):
    tokens[caption, length - 1] = 255
  return types.SimpleNamespace(
    name="mine", split="val", fingerprint="f", person_id=np.array([7, 5, 7, 9, 5]), caption_image=caption_image,
    images=np.broadcast_to(greys[:, None, None, None], (5, 4, 2, 3)).astype(np.uint8), tokens=tokens,
    described=np.arange(5),
  )  # fmt: skip


@pytest.mark.parametrize("batch_size", [2, 16])
def test_embeddings_are_in_the_order_of_the_split_for_any_batch_size(batch_size):
  split = make_split()
  encoders = embedding.Encoders(AngleModel(), sharding.make_mesh(1, 1, 1), batch_size)
  image, text = encoders.encode({"scale": jnp.float32(3.0)}, split, (4, 6))
  angles = 2 * np.array([10, 60, 110, 160, 210]) / 255
  np.testing.assert_allclose(image[:, :2], 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-5)
  np.testing.assert_allclose(text, image[split.caption_image], atol=1e-5)


def test_scores_rank_images_for_captions_and_captions_for_images():
  split = make_split()
  split.tokens[0, 1] = 160  # a caption of image 4, person 5, that looks like image 3, person 9
  encoders = embedding.Encoders(AngleModel(), sharding.make_mesh(1, 1, 1), 4)
  _, _, scores = encoders.score({"scale": jnp.float32(1.0)}, split, (6,))
  np.testing.assert_array_equal(scores["t2i"].query_ids, [5, 7, 7, 5, 7, 9, 9])
  np.testing.assert_array_equal(scores["i2t"].query_ids, split.person_id)
  # By distance from grey 160: image 3, then images 2 and 4 (110 and 210; ties are ranked by index).
  np.testing.assert_array_equal(scores["t2i"].first_rank, [3, 1, 1, 1, 1, 1, 1])
  # For image 4, at 210: captions 0, 5 and 6 at 160, then 4 at 110, then 3 at 60. Caption 0 belongs to its person.
  np.testing.assert_array_equal(scores["i2t"].first_rank, [1, 1, 1, 2, 1])
  summary = embedding.summarize(scores)
  assert list(summary) == ["t2i", "i2t"]
  assert (summary["t2i"]["R@1"], summary["i2t"]["R@1"]) == pytest.approx((100 * 6 / 7, 80))
  arrays = score_file.to_arrays(scores, split)
  assert (str(arrays["dataset"]), str(arrays["split"]), str(arrays["fingerprint"])) == ("mine", "val", "f")
  np.testing.assert_array_equal(arrays["t2i_first_rank"], scores["t2i"].first_rank)
  np.testing.assert_array_equal(arrays["i2t_query_ids"], split.person_id)


def test_captions_that_are_not_of_the_split_are_encoded_alike():
  split = make_split()
  encoders = embedding.Encoders(AngleModel(), sharding.make_mesh(1, 1, 1), 4)
  variables = {"scale": jnp.float32(3.0)}
  expected = encoders.encode_captions(variables, split, (4, 6))
  np.testing.assert_array_equal(encoders.encode_tokens(variables, split.tokens[::-1], (4, 6)), expected[::-1])
