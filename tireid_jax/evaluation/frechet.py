"""The Fréchet distance of two sets of embeddings: how far one domain is from another for an encoder."""

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the squared Fréchet distance of Gaussians fitted to two sets of embeddings of unit length.

  It is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of their means and covariances, at most 4. With CLIP's image
  embeddings it measures the distance of image domains better than with those of Inception, for which it was proposed.

  Args:
    first: f32[N, E] embeddings, normalised here.
    second: f32[M, E] embeddings of other inputs.

  Raises:
    ValueError: one of them has fewer than two embeddings.

  Source: Heusel et al., NeurIPS 2017, arXiv 1706.08500, equation 6; Kynkäänniemi et al., ICLR 2023, arXiv 2203.06026.
  """
  if min(len(first), len(second)) < 2:
    raise ValueError(f"there are {len(first)} and {len(second)} embeddings; a covariance needs two or more")
  first, second = (_normalised(x) for x in (first, second))
  means = [x.mean(axis=0) for x in (first, second)]
  covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (first, second)]
  values, vectors = np.linalg.eigh(covariances[0])
  root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
  # The eigenvalues of C1 C2 are those of this symmetric matrix.
  of_product = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)
  distance = np.sum((means[0] - means[1]) ** 2) + sum(np.trace(c) for c in covariances) - 2 * np.sqrt(of_product).sum()
  return float(max(distance, 0.0))


def _normalised(embeddings):
  embeddings = embeddings.astype(np.float64)
  return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
