"""The Fréchet distance, of Gaussians for which it is known."""

import numpy as np
import pytest

from tireid_jax.evaluation.frechet import frechet_distance


def on_circle(angles):
  return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_it_is_the_squared_distance_of_means_and_of_deviations():
  # Two points at +-a degrees around 0: mean (cos a, 0), deviation sqrt(2) sin a along y.
  narrow, wide = (on_circle(np.radians([-angle, angle])) for angle in (10, 30))
  of_means = (np.cos(np.radians(10)) - np.cos(np.radians(30))) ** 2
  of_deviations = 2 * (np.sin(np.radians(30)) - np.sin(np.radians(10))) ** 2
  assert frechet_distance(narrow, wide) == pytest.approx(of_means + of_deviations, rel=1e-6)


def test_it_does_not_depend_on_length_order_or_rotation_and_is_symmetric():
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=(50, 4)) + 1, rng.normal(size=(60, 4))
  rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
  expected = frechet_distance(first, second)
  assert expected > 0.1
  assert frechet_distance(second, first) == pytest.approx(expected)
  assert frechet_distance(7 * first[::-1] @ rotation, second @ rotation) == pytest.approx(expected)
  assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_a_single_embedding_has_no_covariance():
  with pytest.raises(ValueError, match="1 and 2 embeddings"):
    frechet_distance(np.ones((1, 3)), np.ones((2, 3)))
