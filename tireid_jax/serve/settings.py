"""How the page is served, and its limits."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
  """What `make_app` needs to know besides the Searcher.

  Attributes:
    hosts: host names by which the server may be called; a request for any other is rejected (DNS rebinding).
    token: that a request must bring; "" for none, on loopback only.
    max_top: most results of one search.
    max_body_bytes: of a request, but for uploads and marks.
    max_marks_bytes: of a request that exports marks.
    max_upload_bytes: of one uploaded image.
    max_upload_pixels: of one uploaded image, decoded.
    max_uploads: images in one session.
    max_session_bytes: of all images of one session, as uploaded.
    max_sessions: at one time; each keeps its images on disk until it ends.
    session_s: a session ends when it has not been used for so long.
    searches_per_minute, maps_per_minute, images_per_minute, uploads_per_minute: of one client address.
    logins_per_minute: of one client address, so that tokens cannot be tried out.
  """

  hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
  token: str = ""
  max_top: int = 200
  max_body_bytes: int = 2**20
  max_marks_bytes: int = 2**24
  max_upload_bytes: int = 2**24
  max_upload_pixels: int = 2**24
  max_uploads: int = 200
  max_session_bytes: int = 2**28
  max_sessions: int = 32
  session_s: float = 1800.0
  searches_per_minute: int = 240
  maps_per_minute: int = 600
  images_per_minute: int = 6000
  uploads_per_minute: int = 240
  logins_per_minute: int = 20
