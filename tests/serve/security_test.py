"""Who may call the page: Host, Origin, token, sizes, rates, and the headers of every response."""

import pytest

from tests.serve import serving
from tireid_jax.serve import security

QUERY = {"text": "a red coat"}
TOKEN = "t" * 32


@pytest.fixture(scope="module")
def guarded(searcher):
  with serving.make_client(searcher, hosts=("gallery.example",), home="http://gallery.example", token=TOKEN) as opened:
    yield opened


@pytest.mark.parametrize("path", ["/", "/api/gallery", "/static/index.html", "/nowhere", "/api/images/x"])
def test_every_response_forbids_what_the_page_does_not_use(client, path):
  headers = client.get(path).headers
  policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
  assert policy["default-src"] == "'none'"
  assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
  assert headers["x-content-type-options"] == "nosniff"
  assert headers["cross-origin-resource-policy"] == "same-origin"
  assert "cache-control" in headers


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[", "evil.example:8000"])
def test_another_host_name_is_rejected_on_loopback_too(client, host):
  for path in ("/", "/api/gallery"):
    response = client.get(path, headers={"host": host})
    assert response.status_code == 400
    assert "this server is not called" in response.json()["error"]
    assert "content-security-policy" in response.headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:8000", "[::1]:8000"])
def test_loopback_has_several_names(client, host):
  assert client.get("/api/gallery", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9000", "http://localhost", "//"])
def test_a_page_of_another_origin_cannot_call_the_api(client, origin):
  response = client.post("/api/search", json=QUERY, headers={"origin": origin})
  assert response.status_code == 403
  assert response.json() == {"error": "requests from pages of other sites are rejected"}
  assert "access-control-allow-origin" not in response.headers


def test_the_own_page_can_call_the_api(client):
  headers = {"origin": serving.HOME, "sec-fetch-site": "same-origin"}
  assert client.post("/api/search", json=QUERY, headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_cannot_embed_pictures_but_link_to_the_page(client, site):
  assert client.get("/api/gallery", headers={"sec-fetch-site": site}).status_code == 403
  assert client.get("/?q=a+red+coat", headers={"sec-fetch-site": site}).status_code == 200


def test_beyond_loopback_the_api_needs_the_token_and_the_empty_page_does_not(guarded):
  assert guarded.get("/").status_code == 200
  for path in ("/api/gallery", "/api/openapi.json", f"/api/gallery?token={TOKEN}"):
    response = guarded.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
  for wrong in ("Bearer x", f"Basic {TOKEN}", "Bearer", "Bearer \xe4", f"Bearer {TOKEN}x"):
    assert guarded.get("/api/gallery", headers={"authorization": wrong.encode("latin-1")}).status_code == 401
  assert guarded.get("/api/gallery", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_login_sets_a_strict_cookie_that_does_not_hold_the_token(searcher):
  with serving.make_client(searcher, token=TOKEN) as client:
    assert client.post("/api/login", json={"token": "wrong"}).status_code == 401
    assert client.get("/api/gallery").status_code == 401
    response = client.post("/api/login", json={"token": TOKEN})
    assert response.status_code == 204
    cookie = response.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert client.get("/api/gallery").status_code == 200
    client.cookies.set(security.COOKIE, "0" * 64)
  with serving.make_client(searcher, token=TOKEN) as client:
    client.cookies.set(security.COOKIE, TOKEN)
    assert client.get("/api/gallery").status_code == 401


def test_a_body_above_the_limit_is_rejected_with_and_without_its_length(searcher):
  with serving.make_client(searcher, max_body_bytes=100) as client:
    for body in (b"x" * 101, iter([b"x" * 60, b"x" * 60])):
      response = client.post("/api/search", content=body)
      assert response.status_code == 413
      assert response.json() == {"error": "the request has more than 100 bytes"}
    assert client.post("/api/search", json=QUERY).status_code == 200


def test_too_many_searches_are_rejected_and_pictures_are_counted_apart(searcher):
  with serving.make_client(searcher, searches_per_minute=1) as client:
    (result, *_) = client.post("/api/search", json=QUERY).json()["results"]
    response = client.post("/api/search", json=QUERY)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert client.get(f"/api/images/{result['id']}").status_code == 200


def test_requests_without_the_token_use_up_no_limit(searcher):
  with serving.make_client(searcher, token=TOKEN, searches_per_minute=1) as client:
    for _ in range(3):
      assert client.post("/api/search", json=QUERY).status_code == 401
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/search", json=QUERY, headers=headers).status_code == 200
    assert client.post("/api/search", json=QUERY, headers=headers).status_code == 429


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cookies_are_for_https_alone_if_the_page_is(searcher, scheme):
  with serving.make_client(searcher, token=TOKEN) as client:
    headers = {"origin": serving.HOME.replace("http", scheme)}
    cookie = client.post("/api/login", json={"token": TOKEN}, headers=headers).headers["set-cookie"]
  assert ("Secure" in cookie.split("; ")) == (scheme == "https")
