"""A Searcher on an index in Milvus: Milvus Lite in a folder, and as a server that stands for a cluster."""

import base64
import os
import signal
import subprocess
import sys
from concurrent import futures

import grpc
import numpy as np
import pytest

from tests.commands import ROOT, environment
from tests.search import searching
from tireid_jax.data import toy
from tireid_jax.errors import UserError
from tireid_jax.search import Searcher, Where, encoders, milvus_address, milvus_client, milvus_index, opening
from tireid_jax.search.entries import Entry

pytest.importorskip("pymilvus", reason="needs requirements-milvus.txt")
pytest.importorskip("milvus_lite", reason="needs requirements-milvus.txt")

NAMES = ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png")
QUERIES = ("a woman in a red coat", "a man with a dog", "a child in blue shorts")
FILTERS = (
  None,
  Where(cameras=("cam_a", "cam_c")),
  Where(folders=("imgs/cam_b", "imgs/cam_c/")),
  Where(start="2026-05-01T00:05", end="2026-05-01T00:15"),
  Where(start="2026-05-01T00:05", cameras=("cam_b",)),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return searching.make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def model(run):
  return encoders.open_encoders(workdir=run)


@pytest.fixture
def lite(tmp_path):
  """The address of a new Milvus Lite, whose server ends with the test."""
  from milvus_lite.server_manager import server_manager_instance

  folder = tmp_path / "index.db"
  yield f"milvus:{folder}"
  server_manager_instance.release_server(str(folder))


@pytest.fixture
def server(tmp_path):
  """(address, stop()) of a server to which a client connects as to a cluster."""
  from milvus_lite.adapter.grpc.server import start_server_in_thread

  running, database, port = start_server_in_thread(str(tmp_path / "server"))
  yield f"milvus:http://127.0.0.1:{port}", lambda: running.stop(grace=None).wait()
  running.stop(grace=None).wait()
  database.close()


def open_index(model, index, gallery=None, dtype=""):
  return Searcher(model, opening.open_index(index, model, gallery=gallery, dtype=dtype))


def paths(results):
  return [result.path for result in results]


def test_the_ten_best_of_a_toypedes_gallery_are_those_of_an_index_on_disk_under_every_filter(model, lite, tmp_path):
  raw = toy.write_pedes(
    tmp_path / "raw", seed=3, num_train_ids=1, num_val_ids=1, num_test_ids=12, images_per_id=2, num_workers=1
  )
  images = sorted((raw / "imgs").rglob("*.jpg"))
  lines = [
    f"imgs/{path.parent.name}/{path.name},,,,,{path.parent.name},{f'2026-05-01T00:{i:02}' if i % 5 else ''}"
    for i, path in enumerate(images)
  ]
  table = tmp_path / "boxes.csv"
  table.write_text("\n".join(["path,x,y,w,h,camera,time", *lines, "imgs/cam_a/none.jpg,,,,,cam_a,"]))
  exact, rounded, milvus = (
    open_index(model, index, raw, dtype)
    for index, dtype in ((tmp_path / "f32", "float32"), (tmp_path / "bf16", "bfloat16"), (lite, ""))
  )
  for searcher in (exact, rounded, milvus):
    assert searcher.update(boxes=table).num_added == len(images)
  for where in FILTERS:
    expected, found = (searcher.search_all(QUERIES, 10, where) for searcher in (exact, milvus))
    scores = rounded.search_all(QUERIES, len(images), where)
    for theirs, ours, all_rounded in zip(expected, found, scores, strict=True):
      assert 0 < len(ours) <= 10
      assert [each._replace(score=0) for each in ours] == [each._replace(score=0) for each in theirs]
      np.testing.assert_allclose([each.score for each in ours], [each.score for each in theirs], atol=1e-6)
      known = {each.path: each.score for each in all_rounded}
      # bfloat16 has 8 significant bits, so each product is off by at most 2**-8 of the product of the magnitudes.
      np.testing.assert_allclose([each.score for each in ours], [known[each.path] for each in ours], atol=2**-7)


def test_an_update_encodes_only_what_is_new_or_changed_and_drops_what_is_gone(model, lite, tmp_path):
  gallery = searching.make_pictures(tmp_path / "gallery", NAMES)
  searcher = open_index(model, lite, gallery)
  assert searcher.update().num_added == 5
  (gallery / "a/1.png").unlink()
  searching.make_pictures(gallery, ["b/3.png", "c/6.png"], seed=9)
  os.utime(gallery / "b/3.png", ns=(0, 1))
  (gallery / "b/5.png").write_bytes(b"no image")
  report = searcher.update()
  assert (report.num_added, report.num_changed, report.num_removed, report.num_unchanged) == (1, 1, 1, 2)
  expected = ["a/2.png", "b/3.png", "b/4.png", "c/6.png"]
  again = open_index(model, lite)
  assert (len(again), again.gallery) == (4, gallery)
  for each in (searcher, again):
    assert sorted(paths(each.search("a coat"))) == expected
    assert each.search(gallery / "b/3.png")[0].path == "b/3.png"
  assert searcher.update(compact=True).num_unchanged == 4
  assert searcher.remove(["b/3.png", "none"]) == 1
  assert sorted(paths(again.search("a coat"))) == ["a/2.png", "b/4.png", "c/6.png"]


def test_a_gallery_that_was_moved_is_found_at_its_new_place(model, lite, tmp_path):
  gallery = searching.make_pictures(tmp_path / "gallery", NAMES[:2])
  open_index(model, lite, gallery).update()
  moved = gallery.rename(tmp_path / "moved")
  other = searching.make_pictures(tmp_path / "other", ["c/9.png"])
  with pytest.raises(UserError, match="which is not there now, and none of its images"):
    open_index(model, lite, other).update()
  searcher = open_index(model, lite, moved)
  searching.make_pictures(moved, NAMES[2:3])
  assert searcher.update().num_added == 1
  assert open_index(model, lite).search("a coat")[0].file.is_relative_to(moved)


def test_of_entries_of_one_key_in_a_batch_only_the_last_is_sent(model, lite, tmp_path, monkeypatch):
  index = opening.open_index(lite, model, gallery=tmp_path)
  index.add(np.eye(2, model.embedding_size), [Entry("a", 0, 0), Entry("b", 0, 0)])
  sent = []
  monkeypatch.setattr(index._client, "upsert", lambda name, rows, timeout: sent.extend(rows))
  index.add(np.eye(2, model.embedding_size), [Entry("a", 1, 0), Entry("a", 2, 0)])
  assert [(row["size"], row["vector"].argmax()) for row in sent] == [(2, 1)]


def test_an_index_file_that_was_half_written_is_made_again(model, lite, tmp_path):
  from milvus_lite.server_manager import server_manager_instance

  gallery = searching.make_pictures(tmp_path / "gallery", NAMES)
  open_index(model, lite, gallery).update()
  server_manager_instance.release_server(lite.removeprefix("milvus:"))
  (file,) = (tmp_path / "index.db").rglob("indexes/*")
  file.write_bytes(file.read_bytes()[:-3])
  assert sorted(paths(open_index(model, lite).search("a coat"))) == sorted(NAMES)


# Adds the first two pictures, waits for a line, then is killed.
KILLED = """
import os, signal, sys
from tireid_jax.search import Searcher, searcher
searcher._BATCH = 2
opened = Searcher.open(workdir=sys.argv[1], gallery=sys.argv[2], index=sys.argv[3])
encode, calls = opened.encoders.encode_images, []
def encode_images(pixels):
  calls.append(1)
  if len(calls) == 2:
    print("writing", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
  return encode(pixels)
opened.encoders.encode_images = encode_images
opened.update()
"""


def test_a_killed_update_is_continued_and_a_folder_in_use_is_reported(run, model, lite, tmp_path):
  gallery = searching.make_pictures(tmp_path / "gallery", NAMES)
  process = subprocess.Popen(
    [sys.executable, "-c", KILLED, run, gallery, lite], cwd=ROOT, env=environment(), text=True,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )  # fmt: skip
  assert process.stdout.readline() == "writing\n"
  with pytest.raises(UserError, match=r"index\.db is in use by another process"):
    open_index(model, lite, gallery)
  _, errors = process.communicate("go\n")
  assert process.returncode == -signal.SIGKILL
  assert "one process at a time can open the folder" in errors
  assert "Traceback" not in errors
  searcher = open_index(model, lite, gallery)
  report = searcher.update()
  assert (report.num_added, report.num_unchanged) == (3, 2)
  assert sorted(paths(searcher.search("a coat"))) == sorted(NAMES)


def unit(rng, num):
  vectors = rng.standard_normal((num, 512)).astype(np.float32)
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_cluster_is_searched_with_an_ef_that_recalls_the_ten_nearest(server, tmp_path, monkeypatch, capfd):
  address = milvus_address.parse(server[0])

  def opened():
    identity = encoders.Identity("random vectors", "0", {})
    return milvus_index.MilvusIndex(address, identity=identity, gallery=tmp_path, embedding_size=512)

  rng = np.random.default_rng(0)
  vectors, queries = unit(rng, 2000), unit(rng, 64)
  index = opened()
  index.add(vectors, [Entry(str(i), 0, 0) for i in range(len(vectors))])
  index._client.flush(address.collection)
  index._client.release_collection(address.collection)
  index = opened()  # loads the graph, instead of comparing the vectors that are not in it yet
  assert "2,000 images; HNSW, M=32, efConstruction=256, ef=1024" in capfd.readouterr().err
  best = np.argsort(-queries @ vectors.T, axis=1)[:, :10]

  def recall():
    found = [{int(entry.path) for _, entry in results} for results in index.search(queries, 10)]
    return np.mean([len(one & {*two}) / 10 for one, two in zip(found, best.tolist(), strict=True)])

  assert recall() >= 0.99
  monkeypatch.setattr(milvus_index, "EF", 10)
  assert recall() < 0.6


def test_a_cluster_that_has_gone_is_reported_in_a_line(model, server, tmp_path, monkeypatch):
  monkeypatch.setattr(milvus_client, "CONNECT_S", 1)
  monkeypatch.setattr(milvus_index, "REQUEST_S", 1)
  address, stop = server
  gallery = searching.make_pictures(tmp_path / "gallery", NAMES[:2])
  searcher = open_index(model, address, gallery)
  searcher.update()
  stop()
  for act in (lambda: searcher.search("a coat"), lambda: open_index(model, address, gallery)):
    with pytest.raises(UserError, match=r"^milvus:http://127\.0\.0\.1:\d+: Milvus does not answer") as raised:
      act()
    assert "\n" not in str(raised.value)


class Refusing(grpc.GenericRpcHandler):
  """Refuses every call, and records its credentials."""

  def __init__(self):
    self.tokens = set()

  def service(self, call):
    self.tokens |= {value for name, value in call.invocation_metadata if name == "authorization"}
    reason = "auth check failure, please check username and password are correct"
    return grpc.unary_unary_rpc_method_handler(
      lambda request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, reason)
    )


def test_a_cluster_gets_the_token_of_the_environment_and_its_refusal_is_reported(model, tmp_path, monkeypatch):
  monkeypatch.setenv("MILVUS_TOKEN", "me:secret")
  handler = Refusing()
  refusing = grpc.server(futures.ThreadPoolExecutor(1), handlers=[handler])
  port = refusing.add_insecure_port("127.0.0.1:0")
  refusing.start()
  with pytest.raises(UserError, match="Milvus rejects the credentials; set MILVUS_TOKEN") as raised:
    open_index(model, f"milvus:http://127.0.0.1:{port}", tmp_path)
  refusing.stop(grace=None)
  assert {base64.b64decode(token) for token in handler.tokens} == {b"me:secret"}
  assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda model, lite, gallery: open_index(model, lite, gallery, "bfloat16"), "holds float32, not bfloat16"),
    (lambda model, lite, gallery: open_index(model, f"{lite}#other"), "holds no index; give --gallery=DIR"),
    (lambda model, lite, gallery: open_index(model, lite, gallery / "a"), "is of the gallery"),
    (
      lambda model, lite, gallery: milvus_index.MilvusIndex(
        milvus_address.parse(lite), identity=model.identity._replace(digest="other"), gallery=None, embedding_size=8
      ),
      "was made with another model",
    ),
    (lambda model, lite, gallery: open_index(model, f"milvus:{gallery}/b.db", gallery), "holds other files"),
    (lambda model, lite, gallery: open_index(model, f"milvus:{gallery}/c.db", gallery), "is a file; give another"),
    (lambda model, lite, gallery: open_index(model, lite).search("x", top=20_000), "returns at most 16,384 images"),
  ],
)
def test_bad_input_is_reported_in_a_line(make, message, model, lite, tmp_path):
  gallery = searching.make_pictures(tmp_path / "gallery", ["a/1.png", "b.db/2.png"])
  (gallery / "c.db").touch()
  open_index(model, lite, gallery).update()
  with pytest.raises(UserError, match=message) as raised:
    make(model, lite, gallery)
  assert "\n" not in str(raised.value)
