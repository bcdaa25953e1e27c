"""Linear CKA: its invariances, and a value computed by hand."""

import numpy as np
import pytest

from tireid_jax.evaluation import cka

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def test_it_is_1_up_to_rotation_scale_and_shift():
  rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
  assert cka.linear_cka(X, 3 * X @ rotation + 5) == pytest.approx(1, abs=1e-6)


def test_it_is_not_1_after_a_change_of_the_axes_relative_sizes():
  assert cka.linear_cka(X, X * [10, 1, 1, 1, 1, 1]) < 0.8


def test_a_value_computed_by_hand():
  # Centred: x = (-1, 0, 1), y = (-1, 2, -1); x.y = 0.  With z = (-1, -1, 2): x.z = 3, |x|^2 = 2, |z|^2 = 6.
  x, y, z = (np.array(values, np.float32)[:, None] for values in ([0, 1, 2], [0, 3, 0], [0, 0, 3]))
  assert cka.linear_cka(x, y) == pytest.approx(0)
  assert cka.linear_cka(x, z) == pytest.approx(9 / 12)


def test_other_inputs_and_constant_representations_raise():
  with pytest.raises(ValueError, match="50 and 49"):
    cka.linear_cka(X, X[1:])
  with pytest.raises(ValueError, match="same for all inputs"):
    cka.linear_cka(X, np.ones((50, 2)))
