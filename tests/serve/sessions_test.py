"""Uploaded pictures: searched like the gallery, seen by their session alone, and deleted at its end."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from tests.serve import serving
from tireid_jax.serve import sessions
from tireid_jax.serve.errors import ApiError
from tireid_jax.serve.settings import Settings


def png(seed=0, size=(40, 20)):
  stream = io.BytesIO()
  Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(stream, "PNG")
  return stream.getvalue()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
  """The folder for temporary files."""
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
  return tmp_path


def upload(client, content, name="a.png"):
  return client.post("/api/session/images", content=content, params={"name": name})


def pictures_below(folder):
  return sorted(path.name for path in folder.glob("*/pictures/*"))


def test_uploads_are_searched_apart_shown_by_name_and_deleted_with_the_session(searcher, temporary):
  with serving.make_client(searcher) as client:
    first, second = (upload(client, png(seed), f"<{seed}>.png").json() for seed in (1, 2))
    assert client.get("/api/session").json() == {"images": [first, second]}
    found = client.post("/api/search", json={"image": second["id"], "session": True}).json()["results"]
    assert [result["path"] for result in found] == ["<2>.png", "<1>.png"]
    assert found[0]["id"] == second["id"]
    gallery = client.post("/api/search", json={"image": second["id"], "top": 100}).json()["results"]
    assert len(gallery) == len(searcher)
    response = client.get(f"/api/images/{first['id']}/thumbnail")
    assert response.headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(response.content)).size == (20, 40)
    assert len(pictures_below(temporary)) == 2
    assert client.delete("/api/session").status_code == 204
    assert not list(temporary.iterdir())
    assert client.get("/api/session").json() == {"images": []}
    assert client.get(f"/api/images/{first['id']}").status_code == 404
    assert client.post("/api/search", json={"text": "x", "session": True}).status_code == 404


def test_another_visitor_sees_no_upload(searcher, temporary):
  with serving.make_client(searcher) as client:
    uploaded = upload(client, png()).json()
    client.cookies.clear()
    assert client.get(f"/api/images/{uploaded['id']}").status_code == 404
    assert client.post("/api/search", json={"image": uploaded["id"]}).status_code == 404
    upload(client, png(5))
    assert client.get(f"/api/images/{uploaded['id']}").status_code == 404


def test_the_end_of_the_server_deletes_all_uploads(searcher, temporary):
  with serving.make_client(searcher) as client:
    assert upload(client, png()).status_code == 201
    assert pictures_below(temporary)
  assert not list(temporary.iterdir())


@pytest.mark.parametrize(
  ("content", "status", "message"),
  [
    (b"", 422, "holds no image"),
    (b"no image", 422, "does not decode as an image (no format that is known)"),
    (png()[:-600], 422, "the file "),
    (png(size=(101, 100)), 413, "has 101x100 pixels; 10,000 are allowed"),
    (b"x" * 50_001, 413, "has more than 50,000 bytes"),
  ],
)
def test_what_is_no_image_or_too_large_leaves_nothing_behind(searcher, temporary, content, status, message):
  with serving.make_client(searcher, max_upload_bytes=50_000, max_upload_pixels=10_000) as client:
    response = upload(client, content)
    assert response.status_code == status, response.text
    assert message in response.json()["error"]
    assert str(temporary) not in response.json()["error"]
    assert not list(temporary.iterdir())


def test_a_session_and_a_server_hold_so_many_and_no_more(searcher, temporary):
  with serving.make_client(searcher, max_uploads=1, max_sessions=1) as client:
    assert upload(client, png()).status_code == 201
    assert upload(client, png()).status_code == 409
    assert len(client.get("/api/session").json()["images"]) == 1
    client.cookies.clear()
    assert upload(client, png()).status_code == 503
  with serving.make_client(searcher, max_session_bytes=len(png()) + 1) as client:
    assert [upload(client, png()).status_code for _ in range(2)] == [201, 409]


def test_a_session_that_nobody_uses_ends(searcher, temporary):
  now = [0.0]
  made = sessions.Sessions(searcher, Settings(session_s=10), clock=lambda: now[0])
  session = made.begin()
  now[0] = 9.0
  assert made.find(session.id) is session
  now[0] = 18.0
  made.sweep()
  assert list(temporary.iterdir())
  now[0] = 20.0
  assert made.find(session.id) is None
  assert not list(temporary.iterdir())


def test_the_cookie_of_a_session_is_strict(searcher, temporary):
  with serving.make_client(searcher) as client:
    assert {"HttpOnly", "SameSite=strict"} <= set(upload(client, png()).headers["set-cookie"].split("; "))


def test_an_upload_into_a_session_that_has_ended_is_reported(searcher, temporary):
  session = sessions.Session(searcher)
  session.end()
  with pytest.raises(ApiError, match="this session has ended"):
    session.add(png(), "a.png", Settings(), threading.Lock())


def test_too_many_sessions_are_an_error(searcher, temporary):
  made = sessions.Sessions(searcher, Settings(max_sessions=1))
  made.begin()
  with pytest.raises(ApiError, match="1 visitors have uploaded pictures"):
    made.begin()
  made.close()
