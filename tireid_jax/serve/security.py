"""What every request must satisfy before it reaches a route, and the headers of every response.

Host: a page of another site whose name was pointed at this address (DNS rebinding) sends its own name. Origin and
Sec-Fetch-Site: a page of another site cannot call the API from a visitor's browser, nor embed pictures; this matters on
loopback too. Token: as `Authorization: Bearer TOKEN`, or as the cookie that `/api/login` sets. Bodies are read up to a
limit before a route is called.
"""

import hashlib
import hmac
import math
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tireid_jax.serve.errors import ApiError, response
from tireid_jax.serve.limits import Rate
from tireid_jax.serve.settings import Settings

COOKIE = "tireid_token"
LOGIN = "/api/login"
UPLOAD = "/api/session/images"
ANNOTATIONS = "/api/annotations"

_HEADERS = {
  "content-security-policy": (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
  ),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
}


def cookie_of(token: str) -> str:
  """Returns the value of the cookie that stands for a token."""
  return hmac.new(token.encode(), b"cookie of tireid_jax.serve", hashlib.sha256).hexdigest()


def is_token(given: str, token: str) -> bool:
  """Returns whether a token is the right one, in a time that does not depend on it."""
  return hmac.compare_digest(given.encode(), token.encode())


class Guard:
  """ASGI middleware; see the docstring of the module."""

  def __init__(self, app: ASGIApp, settings: Settings) -> None:
    self._app, self._settings = app, settings
    self._rates = {
      "/api/search": Rate(settings.searches_per_minute),
      "/api/word_map": Rate(settings.maps_per_minute),
      "/api/images": Rate(settings.images_per_minute),
      UPLOAD: Rate(settings.uploads_per_minute),
      LOGIN: Rate(settings.logins_per_minute),
    }

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return
    is_started = False

    async def send_with_headers(message: Message) -> None:
      nonlocal is_started
      if message["type"] == "http.response.start":
        is_started = True
        headers = MutableHeaders(scope=message)
        headers.update(_HEADERS)
        headers.setdefault("cache-control", "no-store")
      await send(message)

    try:
      headers = Headers(scope=scope)
      self._check(scope, headers)
      body = await _read(receive, headers, self._limit(scope))
      await self._app(scope, _replay(body, receive), send_with_headers)
    except ApiError as error:
      if is_started:
        raise
      await response(error)(scope, receive, send_with_headers)

  def _check(self, scope: Scope, headers: Headers) -> None:
    """Raises ApiError unless a request comes from where it may, with the token, and not too often."""
    path = scope["path"]
    host = headers.get("host", "")
    if _name(host) not in self._settings.hosts:
      raise ApiError(400, f"this server is not called {_name(host)!r}; allow the name with --allowed_host=NAME")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
      raise ApiError(403, "requests from pages of other sites are rejected")
    is_api = path.startswith("/api/")
    if is_api and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
      raise ApiError(403, "requests from pages of other sites are rejected")
    if is_api and path != LOGIN and not self._has_token(headers):
      raise ApiError(401, "this server requires its token", {"www-authenticate": "Bearer"})
    # After the token, so that requests without it use up no limit: behind a proxy, all clients have one address.
    client = scope["client"][0] if scope.get("client") else ""
    for prefix, rate in self._rates.items():
      if path == prefix or path.startswith(f"{prefix}/"):
        wait_s = rate.wait_s(client)
        if wait_s:
          raise ApiError(429, "too many requests; wait a little", {"retry-after": str(math.ceil(wait_s))})

  def _has_token(self, headers: Headers) -> bool:
    token = self._settings.token
    if not token:
      return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
      return is_token(given.strip(), token)
    return is_token(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), cookie_of(token))

  def _limit(self, scope: Scope) -> int:
    limits = {UPLOAD: self._settings.max_upload_bytes, ANNOTATIONS: self._settings.max_marks_bytes}
    return limits.get(scope["path"], self._settings.max_body_bytes)


def _name(host: str) -> str:
  """Returns the name in a Host header, without its port and the brackets of IPv6."""
  try:
    return (urlsplit(f"//{host}").hostname or "").rstrip(".")
  except ValueError:
    return ""


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes:
  """Returns the body of a request; raises ApiError as soon as it is known to be larger than the limit, in bytes."""
  error = ApiError(413, f"the request has more than {limit:,} bytes", {"connection": "close"})
  length = headers.get("content-length", "0")
  if not length.isascii() or not length.isdigit() or len(length) > 18 or int(length) > limit:
    raise error
  parts, size = [], 0
  while True:
    message = await receive()
    if message["type"] == "http.disconnect":
      raise ApiError(400, "the request ended early")
    parts.append(message.get("body", b""))
    size += len(parts[-1])
    if size > limit:
      raise error
    if not message.get("more_body"):
      return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
  is_read = False

  async def replay() -> Message:
    nonlocal is_read
    if is_read:
      return await receive()
    is_read = True
    return {"type": "http.request", "body": body, "more_body": False}

  return replay
