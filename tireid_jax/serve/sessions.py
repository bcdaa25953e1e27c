"""Session galleries: pictures that a visitor uploads, searched with the same model, and deleted when the session ends.

A session ends when the visitor ends it, when it has not been used for `session_s`, or when the server ends. Its files
are in a folder of their own below the system's folder for temporary files.
"""

import pathlib
import secrets
import tempfile
import threading
import time
from collections.abc import Callable

from tireid_jax.data.prepared import images
from tireid_jax.search import Searcher
from tireid_jax.search.index import Index
from tireid_jax.serve.errors import ApiError
from tireid_jax.serve.pictures import Pictures
from tireid_jax.serve.settings import Settings


class Session:
  """A gallery of uploaded pictures.

  Attributes:
    id: secret; who knows it sees the pictures.
    searcher: Searcher of the pictures.
    pictures: Pictures.
    names: {id of a picture: name of the uploaded file}, in the order of the uploads.
  """

  def __init__(self, searcher: Searcher) -> None:
    self.id = secrets.token_urlsafe(24)
    self._folder = tempfile.TemporaryDirectory(prefix="tireid_jax-session-", ignore_cleanup_errors=True)
    folder = pathlib.Path(self._folder.name).resolve()
    gallery = folder / "pictures"
    gallery.mkdir()
    encoders = searcher.encoders
    index = Index(
      folder / "index", identity=encoders.identity, gallery=gallery, embedding_size=encoders.embedding_size,
      mesh=encoders.mesh,
    )  # fmt: skip
    self.searcher = Searcher(encoders, index)
    self.pictures = Pictures(gallery, use_exif=encoders.use_exif, scope=self.id)
    self.names: dict[str, str] = {}
    self.num_bytes = 0
    self._has_ended = False
    self.lock = threading.Lock()

  def end(self) -> None:
    """Deletes the pictures."""
    with self.lock:
      self._has_ended = True
      self._folder.cleanup()

  def add(self, content: bytes, name: str, settings: Settings, computing: threading.Lock) -> str:
    """Adds the picture in a file's bytes; returns its id.

    Args:
      content: of the file.
      name: of the file, to be shown.
      settings: with the limits.
      computing: held while the picture is encoded.

    Raises:
      ApiError: it is no image or too large, or the session is full.
    """
    with self.lock:
      if self._has_ended:
        raise ApiError(404, "this session has ended; upload the image again")
      if len(self.names) >= settings.max_uploads or self.num_bytes + len(content) > settings.max_session_bytes:
        raise ApiError(
          409, f"this session is full: {settings.max_uploads:,} images of {settings.max_session_bytes:,} bytes in all "
          f"are allowed; delete them to upload others",
        )  # fmt: skip
      file = self.searcher.gallery / f"{len(self.names):06d}"
      file.write_bytes(content)
      try:
        height, width = images.read_size(file)
        if height * width > settings.max_upload_pixels:
          raise ApiError(413, f"the image has {height}x{width} pixels; {settings.max_upload_pixels:,} are allowed")
        with computing:
          report = self.searcher.add([file])
        for _, reason in report.unreadable:
          raise ApiError(422, f"the file {reason}")
      except images.BadImageError as error:
        file.unlink()
        raise ApiError(422, f"the file {error.detail}") from error
      except BaseException:
        file.unlink()
        raise
      (entry,) = (each for each in self.searcher.entries() if each.path == file.name)
      picture = self.pictures.add(entry)
      self.names[picture] = name
      self.num_bytes += len(content)
      return picture


class Sessions:
  """All sessions of a server, by id."""

  def __init__(self, searcher: Searcher, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
    """`clock` returns seconds."""
    self._searcher, self._settings, self._clock = searcher, settings, clock
    self._sessions: dict[str, tuple[Session, float]] = {}
    self._lock = threading.Lock()

  def find(self, session_id: str | None) -> Session | None:
    """Returns the session of an id, which counts as used; None if it has ended or never was."""
    self.sweep()
    with self._lock:
      if session_id not in self._sessions:
        return None
      session, _ = self._sessions[session_id]
      self._sessions[session_id] = (session, self._clock())
      return session

  def begin(self) -> Session:
    """Returns a new session; raises ApiError if there are too many."""
    self.sweep()
    with self._lock:
      if len(self._sessions) >= self._settings.max_sessions:
        raise ApiError(503, f"{self._settings.max_sessions} visitors have uploaded pictures; wait until one has ended")
      session = Session(self._searcher)
      self._sessions[session.id] = (session, self._clock())
      return session

  def end(self, session_id: str) -> None:
    """Ends a session and deletes its pictures."""
    with self._lock:
      session, _ = self._sessions.pop(session_id, (None, 0.0))
    if session is not None:
      session.end()

  def sweep(self) -> None:
    """Ends all sessions that have not been used for too long."""
    now = self._clock()
    with self._lock:
      gone = [key for key, (_, used) in self._sessions.items() if now - used > self._settings.session_s]
      sessions = [self._sessions.pop(key)[0] for key in gone]
    for session in sessions:
      session.end()

  def close(self) -> None:
    """Ends all sessions."""
    for key in list(self._sessions):
      self.end(key)
