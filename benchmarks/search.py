"""Exact search next to FAISS, usearch and Milvus Lite: time, memory and recall of the ten nearest, by size.

python -m benchmarks.search --sizes=10000,100000,1000000 --to=FOLDER [--json=FILE]
python -m benchmarks.search --sizes=10000000 --engines=ours,faiss_fp16 --to=FOLDER

Run it with `make bench-search`, in an environment that also has the other libraries (benchmarks/search.txt). Random
vectors (of norm 1, 2 KB each) and each library's index are written to FOLDER. Each engine runs in its own process, and
the engines take turns in each round. Milvus Lite is measured with at most 100,000 vectors.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from benchmarks.measuring import emit, memory_mib, spread

EMBEDDING_SIZE, TOP, NUM_QUERIES = 512, 10, 64
_CHUNK = 2**16


def main(_):
  options = flags.FLAGS
  folder = pathlib.Path(options.to)
  folder.mkdir(parents=True, exist_ok=True)
  if options.worker:
    _work(folder, options.worker, options.build)
    return
  rows = []
  for size in map(int, options.sizes):
    _write_vectors(folder, size)
    engines = [engine for engine in options.engines if size <= _MAX_SIZES.get(engine, size)]
    built = {engine: _call(engine, build=True) for engine in engines}
    runs = {engine: [] for engine in engines}
    for _ in range(options.rounds):
      for engine in engines:
        runs[engine].append(_call(engine))
    best = _nearest(folder)
    for engine in engines:
      found = runs[engine]
      rows.append(
        {
          "vectors": size,
          "engine": engine,
          "build_s": built[engine]["build_s"],
          "load_s": min(run["load_s"] for run in found),
          "single_ms": 1e3 * float(np.median([run["single"]["median_s"] for run in found])),
          "batch_ms": 1e3 * float(np.median([run["batch"]["median_s"] for run in found])),
          "memory_ratio": max(run["memory_ratio"] for run in found),
          "recall": float(np.mean([len({*a} & {*b}) / TOP for a, b in zip(best, found[0]["nearest"], strict=True)])),
        }
      )
      print(_line(rows[-1]), flush=True)
  if options.json:
    pathlib.Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")


def _line(row):
  return "  ".join(
    f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
  )


def _call(engine, *, build=False):
  """Returns the results that the worker of an engine printed."""
  arguments = [sys.executable, "-m", "benchmarks.search", f"--worker={engine}", f"--to={flags.FLAGS.to}"]
  done = subprocess.run([*arguments, *(["--build"] if build else [])], check=True, stdout=subprocess.PIPE, text=True)
  return json.loads(done.stdout.splitlines()[-1])


def _write_vectors(folder, size):
  """Writes vectors.npy, f32[size, E], and queries.npy, f32[64, E], all of norm 1."""
  rng = np.random.default_rng(0)
  vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (size, EMBEDDING_SIZE))
  for start in range(0, size, _CHUNK):
    vectors[start : start + _CHUNK] = _unit(rng, min(_CHUNK, size - start))
  vectors.flush()
  np.save(folder / "queries.npy", _unit(rng, NUM_QUERIES))


def _unit(rng, num):
  vectors = rng.standard_normal((num, EMBEDDING_SIZE), dtype=np.float32)
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _nearest(folder):
  """Returns the indices of the TOP nearest vectors of each query, in float32, by NumPy."""
  vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
  scores, indices = np.empty((NUM_QUERIES, 0), np.float32), np.empty((NUM_QUERIES, 0), np.int64)
  for start in range(0, len(vectors), _CHUNK):
    similarity = queries @ vectors[start : start + _CHUNK].T
    scores = np.concatenate([scores, similarity], axis=1)
    indices = np.concatenate([indices, np.tile(start + np.arange(similarity.shape[1]), (NUM_QUERIES, 1))], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    scores, indices = np.take_along_axis(scores, order, axis=1), np.take_along_axis(indices, order, axis=1)
  return indices.tolist()


def _work(folder, engine, build):
  """Builds the index of an engine in FOLDER/ENGINE, or opens it and measures it; prints JSON."""
  vectors = np.load(folder / "vectors.npy", mmap_mode="r")
  make_engine, target = _ENGINES[engine], folder / engine
  if build:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    begin = time.perf_counter()
    make_engine(target).build(vectors)
    emit(build_s=time.perf_counter() - begin)
    return
  queries = np.load(folder / "queries.npy")
  opened = make_engine(target)
  before = memory_mib("VmRSS")
  begin = time.perf_counter()
  opened.load(len(vectors))
  load_s = time.perf_counter() - begin
  nearest = opened.search(queries)
  single = [_seconds(opened.search, queries[i : i + 1]) for i in range(16)]
  batch = [_seconds(opened.search, queries) for _ in range(5)]
  stored = len(vectors) * EMBEDDING_SIZE * opened.bytes_per_value / 2**20
  emit(
    load_s=load_s, single=spread(single[1:]), batch=spread(batch[1:]), nearest=nearest.tolist(),
    memory_ratio=(memory_mib("VmRSS") - before) / stored,
  )  # fmt: skip


def _seconds(search, queries):
  begin = time.perf_counter()
  search(queries)
  return time.perf_counter() - begin


class Ours:
  """tireid_jax.search: Index with an entry for each vector, bfloat16."""

  bytes_per_value = 2

  def __init__(self, folder):
    self._folder = folder
    from tireid_jax.parallel import sharding
    from tireid_jax.search.encoders import Identity

    self._sizes = {"embedding_size": EMBEDDING_SIZE, "mesh": sharding.make_mesh(-1, 1, 1)}
    self._identity = Identity("random vectors", "0", {})

  def _open(self):
    from tireid_jax.search.index import Index

    return Index(self._folder / "index", identity=self._identity, gallery=self._folder, **self._sizes)

  def build(self, vectors):
    from tireid_jax.search.entries import Entry

    index = self._open()
    for start in range(0, len(vectors), _CHUNK):
      part = vectors[start : start + _CHUNK]
      index.add(part, [Entry(f"{start + i}.jpg", 0, 0) for i in range(len(part))])
    index.commit()

  def load(self, _):
    self._index = self._open()

  def search(self, queries):
    found = self._index.search(queries, TOP)
    return np.array([[int(entry.path.removesuffix(".jpg")) for _, entry in results] for results in found])


class Faiss:
  """faiss.IndexFlat, or IndexScalarQuantizer in half precision, memory-mapped if FAISS supports it."""

  def __init__(self, folder):
    import faiss

    self._faiss, self._file = faiss, str(folder / "index.faiss")

  def build(self, vectors):
    index = self._new()
    for start in range(0, len(vectors), _CHUNK):
      index.add(np.ascontiguousarray(vectors[start : start + _CHUNK]))
    self._faiss.write_index(index, self._file)

  def load(self, _):
    self._index = self._faiss.read_index(self._file, self._faiss.IO_FLAG_MMAP_IFC)

  def search(self, queries):
    return self._index.search(queries, TOP)[1]


class FaissFlat(Faiss):
  """float32."""

  bytes_per_value = 4

  def _new(self):
    return self._faiss.IndexFlatIP(EMBEDDING_SIZE)


class FaissHalf(Faiss):
  """float16."""

  bytes_per_value = 2

  def _new(self):
    kind = self._faiss.ScalarQuantizer.QT_fp16
    return self._faiss.IndexScalarQuantizer(EMBEDDING_SIZE, kind, self._faiss.METRIC_INNER_PRODUCT)


class Usearch:
  """usearch's exact search in a memory-mapped float32 array."""

  bytes_per_value = 4

  def __init__(self, folder):
    self._vectors = folder.parent / "vectors.npy"

  def build(self, _):
    """Does nothing: the array is searched without an index."""

  def load(self, _):
    self._mapped = np.load(self._vectors, mmap_mode="r")

  def search(self, queries):
    from usearch.index import MetricKind, search

    found = search(self._mapped, queries, TOP, MetricKind.IP, exact=True)
    return np.asarray(found.keys).reshape(len(queries), TOP)


class MilvusLite(Ours):
  """tireid_jax.search: MilvusIndex in Milvus Lite, float32."""

  bytes_per_value = 4

  def _open(self):
    from tireid_jax.search import milvus_address
    from tireid_jax.search.milvus_index import MilvusIndex

    address = milvus_address.parse(f"milvus:{self._folder}/index.db")
    return MilvusIndex(address, identity=self._identity, gallery=self._folder, embedding_size=EMBEDDING_SIZE)


_ENGINES = {
  "ours": Ours, "faiss_flat": FaissFlat, "faiss_fp16": FaissHalf, "usearch": Usearch, "milvus_lite": MilvusLite,
}  # fmt: skip
# More vectors than Milvus Lite is made for.
_MAX_SIZES = {"milvus_lite": 100_000}

if __name__ == "__main__":
  flags.DEFINE_list("sizes", ["10000", "100000"], "numbers of vectors")
  flags.DEFINE_list("engines", list(_ENGINES), "engines to measure")
  flags.DEFINE_integer("rounds", 3, "rounds: one process per engine in each")
  flags.DEFINE_string("to", "search_benchmark", "folder for the vectors and indexes")
  flags.DEFINE_string("json", "", "file for the table as JSON")
  flags.DEFINE_enum("worker", None, list(_ENGINES), "internal: measure one engine in this process")
  flags.DEFINE_bool("build", False, "internal: with --worker, build its index")
  app.run(main)
