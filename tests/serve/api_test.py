"""The API: the order of the Searcher, nothing from outside of the gallery, and one line for each error."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.search import searching
from tests.serve import serving
from tireid_jax.data.prepared import images
from tireid_jax.errors import UserError
from tireid_jax.search import Query, Searcher, Where, word_map
from tireid_jax.search.index import Index
from tireid_jax.serve.app import make_app
from tireid_jax.serve.limits import Rate
from tireid_jax.serve.settings import Settings

SENTENCE = "a woman in a red coat"


def search(client, **request):
  response = client.post("/api/search", json=request)
  assert response.status_code == 200, response.text
  return response.json()["results"]


def failure(response, status):
  """Returns the line of an error that must have this status."""
  assert response.status_code == status, response.text
  assert list(response.json()) == ["error"]
  assert "\n" not in response.json()["error"]
  return response.json()["error"]


def with_index(searcher, folder, gallery):
  """Returns a Searcher with the same model and another gallery, which is empty."""
  index = Index(
    folder, identity=searcher.encoders.identity, gallery=gallery, embedding_size=searcher.encoders.embedding_size,
    mesh=searcher.encoders.mesh,
  )  # fmt: skip
  return Searcher(searcher.encoders, index)


def test_api_and_searcher_give_the_same_images_in_the_same_order(client, searcher):
  expected = searcher.search(SENTENCE, top=10)
  results = search(client, text=SENTENCE, top=10)
  assert [result["path"] for result in results] == [result.path for result in expected]
  assert [result["rank"] for result in results] == list(range(1, 11))
  assert [result["score"] for result in results] == pytest.approx([result.score for result in expected], abs=1e-6)


def test_an_image_finds_itself_and_a_mix_is_that_of_the_searcher(client, searcher):
  third = search(client, text=SENTENCE)[2]
  assert search(client, image=third["id"])[0]["id"] == third["id"]
  expected = searcher.search(Query([(1, SENTENCE), (1, searcher.gallery / third["path"])]))
  results = search(client, text=SENTENCE, image=third["id"])
  assert [result["path"] for result in results] == [result.path for result in expected]


def test_filters_leave_out_what_does_not_satisfy_them(client, searcher):
  gallery = client.get("/api/gallery").json()
  assert gallery["num_images"] == len(searcher)
  folder = gallery["folders"][0]
  results = search(client, text=SENTENCE, top=100, filters={"folders": [folder]})
  assert [r["path"] for r in results] == [r.path for r in searcher.search(SENTENCE, 100, Where(folders=(folder,)))]
  assert 0 < len(results) < len(searcher)


def test_a_word_map_is_that_of_the_picture_and_the_word(client, searcher):
  results = search(client, text=SENTENCE)[3:5]
  for number, result in [(4, results[0]), (4, results[1]), (5, results[0])]:  # the last from what is kept
    pixels = images.decode(searcher.gallery / result["path"], searcher.encoders.image_size).pixels
    regions = word_map.embed_regions(searcher.encoders, pixels)
    expected = word_map.word_map(searcher.encoders, regions, SENTENCE, number)
    response = client.post("/api/word_map", json={"image": result["id"], "text": SENTENCE, "number": number})
    assert response.status_code == 200, response.text
    assert response.json()["word"] == SENTENCE.split()[number]
    assert response.json()["drop"] == pytest.approx(expected.drop, abs=1e-6)
    np.testing.assert_allclose(response.json()["relevance"], expected.relevance, atol=1e-6)


@pytest.mark.parametrize(
  ("request_", "status", "message"),
  [
    ({"image": "0" * 24, "text": SENTENCE, "number": 0}, 404, "no such image"),
    ({"text": SENTENCE, "number": 6}, 422, "there is no word 6 in the sentence; its words are 0 to 5"),
    ({"text": "red", "number": 0}, 422, "needs two words and not 1"),
    ({"text": "red " * 99, "number": 0}, 422, "shorten it"),
  ],
)
def test_a_word_map_of_nothing_is_answered_with_one_line(client, request_, status, message):
  image = search(client, text=SENTENCE)[0]["id"]
  assert message in failure(client.post("/api/word_map", json={"image": image, **request_}), status)


def test_pictures_are_made_on_demand_without_metadata_and_within_the_sizes(searcher, tmp_path):
  gallery = tmp_path / "gallery"
  gallery.mkdir()
  exif = Image.Exif()
  exif[0x010E], exif[0x0112] = "secret", 6
  Image.fromarray(np.zeros((300, 2000, 3), np.uint8)).save(gallery / "turned.jpg", exif=exif)
  other = with_index(searcher, tmp_path / "index", gallery)
  other.update()
  with serving.make_client(other) as client:
    (result,) = search(client, text=SENTENCE)
    full = client.get(f"/api/images/{result['id']}")
    thumbnail = client.get(f"/api/images/{result['id']}/thumbnail")
  assert b"secret" not in full.content
  assert full.headers["content-type"] == "image/jpeg"
  assert Image.open(io.BytesIO(full.content)).size == (240, 1600)
  assert Image.open(io.BytesIO(thumbnail.content)).size == (48, 320)


def test_a_box_in_a_frame_is_shown_and_searched_by_as_the_box(searcher, tmp_path):
  gallery = searching.make_pictures(tmp_path / "gallery", ["frame.png"])
  (tmp_path / "boxes.csv").write_text(
    "path,x,y,w,h,camera,time\nframe.png,0,0,10,20,c1,10\nframe.png,10,20,10,20,c2,20\n"
  )
  other = with_index(searcher, tmp_path / "index", gallery)
  other.update(boxes=tmp_path / "boxes.csv")
  with serving.make_client(other) as client:
    assert client.get("/api/gallery").json()["cameras"] == ["c1", "c2"]
    (second,) = search(client, text=SENTENCE, filters={"start": "15"})
    assert second["box"] == [10, 20, 10, 20]
    found = search(client, image=second["id"])
    assert found[0]["box"] == second["box"]
    assert found[0]["score"] == pytest.approx(1, abs=0.01)  # the index holds bfloat16
    assert Image.open(io.BytesIO(client.get(f"/api/images/{second['id']}").content)).size == (10, 20)


def test_a_link_out_of_the_gallery_is_not_served(searcher, tmp_path):
  outside = searching.make_pictures(tmp_path / "outside", ["private.png"])
  gallery = searching.make_pictures(tmp_path / "gallery", ["own.png"], seed=1)
  (gallery / "link.png").symlink_to(outside / "private.png")
  other = with_index(searcher, tmp_path / "index", gallery)
  other.update()
  other.add([outside / "private.png"])  # with its absolute path
  with serving.make_client(other) as client:
    for result in search(client, text=SENTENCE):
      response = client.get(f"/api/images/{result['id']}")
      if result["path"] == "own.png":
        assert response.status_code == 200
      else:
        assert "outside of the gallery" in failure(response, 404)
        failure(client.get(f"/api/images/{result['id']}/thumbnail"), 404)
        failure(client.post("/api/search", json={"image": result["id"]}), 404)


@pytest.mark.parametrize(
  "path",
  [
    "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%2fetc%2fpasswd", "//etc/passwd",
    "/api/images/../../etc/passwd", "/api/images/..%2f..%2fetc%2fpasswd", "/api/images/%00", "/api/images/",
    "/api/images/0123456789abcdef01234567", "/api/images/0123456789abcdef01234567%0a", "/docs",
  ],
)  # fmt: skip
def test_no_address_leads_out_of_the_gallery(client, path):
  response = client.get(path)
  assert response.status_code in (404, 422), response.text
  assert list(response.json()) == ["error"]


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({}, "the query is empty"),
    ({"text": "  "}, "the query is empty"),
    ({"text": "red " * 99}, "has 101 tokens, but this model reads 77; shorten it"),
    ({"text": "x", "top": 0}, "top: "),
    ({"text": "x", "top": 201}, "returns up to 200"),
    ({"text": "x", "topp": 1}, "topp: "),
    ({"text": "x", "image": "../x"}, "image: "),
    ({"text": "x", "filters": {"start": "noon"}}, "'noon' is neither a number nor"),
    ({"text": "\ud800"}, "text: "),
  ],
)
def test_a_request_that_makes_no_sense_is_answered_with_one_line(client, request_, message):
  body = json.dumps(request_)
  assert message in failure(client.post("/api/search", content=body, headers={"content-type": "application/json"}), 422)


def test_a_file_name_that_is_no_unicode_is_escaped(searcher, tmp_path):
  gallery = searching.make_pictures(tmp_path / "gallery", ["a\udcff.png"])
  other = with_index(searcher, tmp_path / "index", gallery)
  other.update()
  with serving.make_client(other) as client:
    (result,) = search(client, text=SENTENCE)
    assert result["path"] == "a\\udcff.png"
    assert client.get(f"/api/images/{result['id']}/thumbnail").status_code == 200


def test_openapi_describes_the_routes_and_their_errors(client):
  described = client.get("/api/openapi.json").json()
  assert {"/api/search", "/api/gallery", "/api/images/{image}"} <= set(described["paths"])
  assert {"200", "401", "403", "413", "422", "429"} <= set(described["paths"]["/api/search"]["post"]["responses"])


def test_an_empty_index_is_reported_before_anything_is_served(searcher, tmp_path):
  with pytest.raises(UserError, match="no image of .* has been indexed"):
    make_app(with_index(searcher, tmp_path / "index", tmp_path), Settings())


def test_a_rate_recovers_with_time_and_counts_each_client_alone():
  now = [0.0]
  rate = Rate(2, clock=lambda: now[0])
  assert [rate.wait_s("a") for _ in range(3)] == [0, 0, 30]
  assert rate.wait_s("b") == 0
  now[0] = 30.0
  assert [rate.wait_s("a"), rate.wait_s("a")] == [0, 30]


def test_a_search_by_a_damaged_picture_names_no_path_of_the_server(searcher, client):
  (result, *_) = client.post("/api/search", json={"text": SENTENCE}).json()["results"]
  file = searcher.gallery / result["path"]
  content = file.read_bytes()
  try:
    file.write_bytes(b"no image")
    response = client.post("/api/search", json={"image": result["id"]})
  finally:
    file.write_bytes(content)
  assert response.status_code == 404
  assert response.json() == {"error": "the image does not decode as an image (no format that is known)"}
