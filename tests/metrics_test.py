"""Compares retrieval metrics with the reference implementation and with a plain loop."""

import json
import pathlib
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tireid_jax import metrics, ranking

TESTDATA = pathlib.Path(__file__).parent / "testdata"
GOLDEN = json.loads((TESTDATA / "metrics.json").read_text())["cases"]


def compute_by_loop(similarity, query_ids, gallery_ids):
  """Returns the metrics by their definitions: sorts the similarities of each query stably and goes down the ranking."""
  first, precisions, penalties = [], [], []
  for row, person in zip(similarity, query_ids, strict=True):
    order = sorted(range(len(row)), key=lambda index: (-row[index], index))
    found = [rank for rank, index in enumerate(order, start=1) if gallery_ids[index] == person]
    first.append(found[0])
    precisions.append(sum(number / rank for number, rank in enumerate(found, start=1)) / len(found))
    penalties.append(len(found) / found[-1])
  fractions = {f"R@{k}": [rank <= k for rank in first] for k in (1, 5, 10)} | {"mAP": precisions, "mINP": penalties}
  return {name: 100 * sum(values) / len(values) for name, values in fractions.items()}


@st.composite
def retrievals(draw):
  """Returns (similarity, query_ids, gallery_ids); similarities have few distinct values, so that most are tied."""
  gallery_ids = draw(st.lists(st.integers(-2, 4), min_size=1, max_size=15))
  query_ids = draw(st.lists(st.sampled_from(gallery_ids), min_size=1, max_size=9))
  values = st.lists(st.sampled_from([-1.0, -0.25, 0.0, 0.5]), min_size=len(gallery_ids), max_size=len(gallery_ids))
  similarity = [draw(values) for _ in query_ids]
  return np.array(similarity, np.float32), np.array(query_ids), np.array(gallery_ids)


def random_retrieval(num_queries, num_gallery, num_ids=7, size=6, seed=0):
  """Returns (query embeddings, gallery embeddings, query_ids, gallery_ids); every identity is in the gallery."""
  rng = np.random.default_rng(seed)
  query, gallery = (rng.normal(size=(num, size)).astype(np.float32) for num in (num_queries, num_gallery))
  return query, gallery, rng.integers(num_ids, size=num_queries), np.arange(num_gallery) % num_ids


@pytest.mark.parametrize("case", GOLDEN)
def test_metrics_equal_the_reference_with_ties_ranked_by_lowest_index(case):
  with np.load(TESTDATA / "metrics.npz") as arrays:
    inputs = [arrays[f"{case}/{name}"] for name in ("similarity", "query_ids", "gallery_ids")]
  expected = GOLDEN[case]["ties_by_lowest_index"]
  renamed = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "mAP": "mAP", "mINP": "mINP"}
  assert metrics.rank_metrics(*inputs) == pytest.approx({ours: expected[theirs] for ours, theirs in renamed.items()},
                                                        abs=1e-4)  # fmt: skip


@pytest.mark.parametrize("chunk_queries", [1, 2, 8])
@settings(max_examples=100, deadline=None)
@given(retrieval=retrievals())
def test_metrics_equal_a_plain_loop_with_and_without_ties(chunk_queries, retrieval):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(ranking, "CHUNK_QUERIES", chunk_queries)
    assert metrics.rank_metrics(*retrieval) == pytest.approx(compute_by_loop(*retrieval), abs=1e-9)


def test_metrics_of_one_query_computed_by_hand():
  # Best first: id 2, id 1, id 2, id 1. Positives at ranks 2 and 4.
  found = metrics.rank_metrics([[0.1, 0.9, 0.5, 0.4]], [1], [1, 2, 1, 2])
  assert found == pytest.approx({"R@1": 0, "R@5": 100, "R@10": 100, "mAP": 50, "mINP": 50})


@pytest.mark.parametrize(("positive", "rank"), [(0, 1), (1, 2), (2, 3)])
def test_ties_rank_the_lowest_gallery_index_first(positive, rank):
  gallery_ids = np.where(np.arange(3) == positive, 8, 9)
  assert metrics.rank_metrics(np.zeros((1, 3)), [8], gallery_ids)["mAP"] == pytest.approx(100 / rank)


@pytest.mark.parametrize("num_queries", [1, 4, 5, 8, 11])
def test_blocks_of_queries_do_not_change_the_metrics(monkeypatch, num_queries):
  query, gallery, query_ids, gallery_ids = random_retrieval(num_queries, 30)
  similarity = [[q @ g / np.linalg.norm(q) / np.linalg.norm(g) for g in gallery] for q in query]
  monkeypatch.setattr(ranking, "BLOCK_QUERIES", 4)
  assert metrics.retrieval_metrics(query, gallery, query_ids, gallery_ids) == pytest.approx(
    compute_by_loop(similarity, query_ids, gallery_ids), abs=1e-9
  )


@pytest.mark.parametrize("gallery_size", [255, 1024, 8000])
def test_ranks_in_a_large_gallery_are_those_of_a_stable_sort_for_each_query(gallery_size):
  rng = np.random.default_rng(0)
  num_ids = gallery_size // 20
  query_ids, gallery_ids = rng.integers(num_ids, size=80), np.arange(gallery_size) % num_ids
  similarity = rng.integers(200, size=(80, gallery_size)).astype(np.float32)  # many are equal
  similarity[::2] += 150 * (gallery_ids == query_ids[::2, None])  # as with a trained model
  scores = metrics.rank_scores(similarity, query_ids, gallery_ids)
  for row, person, first, penalty in zip(
    similarity, query_ids, scores.first_rank, scores.inverse_negative_penalty, strict=True
  ):
    found = 1 + np.flatnonzero(gallery_ids[np.argsort(-row, kind="stable")] == person)
    assert (first, penalty) == (found[0], len(found) / found[-1])


def test_a_ranker_ends_its_threads():
  before = set(threading.enumerate())
  with ranking.Ranker() as ranker:
    assert ranker.ranks(np.eye(3, dtype=np.float32), np.arange(3), np.ones(3, int)).tolist() == [1, 1, 1]
    assert set(threading.enumerate()) != before
  assert set(threading.enumerate()) == before


def test_metrics_do_not_depend_on_the_norm_of_the_embeddings():
  query, gallery, *ids = random_retrieval(9, 30)
  lengths = np.arange(1, 31, dtype=np.float32)[:, None]
  assert metrics.retrieval_metrics(query * 3, gallery * lengths, *ids) == pytest.approx(
    metrics.retrieval_metrics(query, gallery, *ids)
  )


def test_queries_without_a_positive_raise_an_error_that_names_them():
  with pytest.raises(ValueError) as error:
    metrics.rank_metrics(np.zeros((6, 2)), [1, 30, 2, 31, 32, 33], [1, 2])
  assert str(error.value) == (
    "4 queries have no image of their identity in the gallery: query 1 (id 30), query 3 (id 31), query 4 (id 32)"
  )


@pytest.mark.parametrize(("side", "value"), [("query", np.nan), ("gallery", np.inf)])
def test_non_finite_embeddings_raise(side, value):
  query, gallery, *ids = random_retrieval(3, 7)
  {"query": query, "gallery": gallery}[side][2, 1] = value
  with pytest.raises(ValueError, match=f"the {side} embeddings hold values that are not finite"):
    metrics.retrieval_metrics(query, gallery, *ids)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.rank_metrics([[0.1, np.nan]], [1], [1, 2]), "the similarities of query 0 hold NaN"),
    (lambda: metrics.rank_metrics(np.zeros((2, 3)), [1, 1, 1], [1, 1]), r"is \(2, 3\), but there are ids of \(3, 2\)"),
    (lambda: metrics.rank_metrics(np.zeros((0, 3)), [], [1, 1, 1]), "there are no queries"),
    (
      lambda: metrics.retrieval_metrics(np.ones((2, 4)), np.ones((3, 4)), [1], [1, 1, 1]),
      "2 query embeddings and 1 id",
    ),
    (lambda: metrics.retrieval_metrics(np.ones((1, 4)), np.ones((3, 4)), [1], [1]), "3 gallery embeddings and 1 ids"),
    (lambda: metrics.top_gallery(np.ones((1, 4)), np.ones((0, 4)), 5), "the gallery is empty"),
    (lambda: metrics.top_gallery(np.ones((1, 4)), np.ones((3, 4)), 0), "is 0; it must be at least 1"),
  ],
)
def test_invalid_inputs_raise(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_a_query_with_nan_similarities_is_named_by_its_index_among_all_queries(monkeypatch):
  monkeypatch.setattr(ranking, "BLOCK_QUERIES", 2)
  similarity = np.zeros((5, 3))
  similarity[3, 1] = similarity[4, 0] = np.nan
  with pytest.raises(ValueError, match="the similarities of query 3 hold NaN"):
    metrics.rank_metrics(similarity, [1] * 5, [1, 1, 2])


def test_an_embedding_of_zeros_is_tied_with_the_whole_gallery():
  gallery = np.eye(3, dtype=np.float32)
  assert metrics.retrieval_metrics(np.zeros((1, 3)), gallery, [2], [0, 1, 2])["mAP"] == pytest.approx(100 / 3)


def test_the_whole_similarity_matrix_is_never_in_memory(monkeypatch):
  monkeypatch.setattr(ranking, "BLOCK_QUERIES", 16)
  retrieval = random_retrieval(2000, 1000, num_ids=500)
  tracemalloc.start()
  try:
    metrics.retrieval_metrics(*retrieval)
    metrics.top_gallery(*retrieval[:2], k=10)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 2000 * 1000 * 4 / 8


def test_scores_are_read_back_from_an_npz_file(tmp_path):
  scores = metrics.query_scores(*random_retrieval(5, 14))
  np.savez(tmp_path / "scores.npz", **scores.to_arrays("t2i"))
  with np.load(tmp_path / "scores.npz") as arrays:
    restored = metrics.QueryScores.from_arrays(arrays, "t2i")
  assert restored.summary() == scores.summary()
  np.testing.assert_array_equal(restored.query_ids, scores.query_ids)


@pytest.mark.parametrize("num_gallery", [100, 257])
def test_equal_gallery_images_are_ranked_by_index_at_any_position(num_gallery):
  # A plain matrix product rounds equal columns differently if they are in different tiles.
  rng = np.random.default_rng(0)
  query, gallery = (rng.normal(size=(num, 512)).astype(np.float32) for num in (300, num_gallery))
  copies = [0, num_gallery // 2, num_gallery - 1]
  gallery[copies] = gallery[0]
  indices, _ = metrics.top_gallery(query, gallery, num_gallery)
  assert all(list(row[np.isin(row, copies)]) == copies for row in indices)
  gallery_ids = np.where(np.arange(num_gallery) == copies[1], 1, 0)
  ranks = metrics.query_scores(query, gallery, np.ones(300, int), gallery_ids).first_rank
  np.testing.assert_array_equal(ranks, 1 + np.argmax(indices == copies[1], axis=1))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=1, max_size=10))
def test_top_gallery_is_the_start_of_a_stable_sort(k, angles):
  gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  indices, _ = metrics.top_gallery(np.array([[1.0, 0.0]]), gallery, k)
  # Angles of 1 and -1 have the same cosine.
  assert indices[0].tolist() == sorted(range(len(angles)), key=lambda i: abs(angles[i]))[:k]


def test_top_gallery_is_best_first_with_ties_by_lowest_index(monkeypatch):
  monkeypatch.setattr(ranking, "BLOCK_QUERIES", 1)
  gallery = np.array([[0, 1], [2, 0], [1, 0], [-1, 0]], np.float32)
  indices, similarities = metrics.top_gallery(np.array([[5, 0], [0, 3]], np.float32), gallery, k=3)
  assert indices.tolist() == [[1, 2, 0], [0, 1, 2]]
  np.testing.assert_allclose(similarities, [[1, 1, 0], [1, 0, 0]], atol=1e-6)


def test_top_gallery_returns_the_whole_gallery_if_k_is_larger():
  assert metrics.top_gallery(np.ones((2, 3)), np.ones((4, 3)), k=10)[0].shape == (2, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_top_gallery_computes_blocks_of_queries_in_float32_for_any_dtype(monkeypatch, dtype):
  monkeypatch.setattr(ranking, "BLOCK_QUERIES", 3)
  rng = np.random.default_rng(0)
  query, gallery = (rng.standard_normal((num, 64)).astype(dtype) for num in (8, 50))
  indices, similarities = metrics.top_gallery(query, gallery, k=5)
  query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.float64, (query, gallery)))
  similarity = query @ gallery.T
  np.testing.assert_array_equal(indices, np.argsort(-similarity, axis=1)[:, :5])
  np.testing.assert_allclose(similarities, -np.sort(-similarity, axis=1)[:, :5], atol=1e-6)


@pytest.mark.parametrize(
  "values",
  [np.ones(4), np.ones((3, 1)), np.float64(1.0), np.array(["1", "2", "3"])],
  ids=lambda values: str(values.shape),
)
def test_scores_that_are_not_one_number_per_query_raise(values):
  arrays = metrics.query_scores(*random_retrieval(3, 14)).to_arrays("t2i") | {"t2i_first_rank": values}
  with pytest.raises(ValueError, match="t2i_first_rank is .*, no number for each query"):
    metrics.QueryScores.from_arrays(arrays, "t2i")
