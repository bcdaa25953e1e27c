"""What the routes do, apart from HTTP: search, pictures and what is known of the gallery."""

import hashlib
import threading

from tireid_jax.search import Query, Searcher, Where
from tireid_jax.search.entries import key_of, seconds
from tireid_jax.search.query import Content
from tireid_jax.serve import schemas
from tireid_jax.serve.errors import ApiError, escaped
from tireid_jax.serve.pictures import Pictures, id_of
from tireid_jax.serve.sessions import Session, Sessions
from tireid_jax.serve.settings import Settings
from tireid_jax.serve.vocabulary import Vocabulary
from tireid_jax.serve.word_maps import WordMaps

_EXAMPLES = (
  "a woman in a red coat",
  "a man in a black jacket and blue trousers, carrying a backpack",
  "a person in a white shirt with a handbag",
)
# Folders that the page offers as filters; a gallery with a folder for each person has thousands.
_MAX_FOLDERS = 500


class Service:
  """A Searcher whose results have ids, for several threads."""

  def __init__(self, searcher: Searcher, settings: Settings, vocabulary: Vocabulary) -> None:
    self.searcher, self.settings, self._vocabulary = searcher, settings, vocabulary
    entries = searcher.entries()
    self.pictures = Pictures(searcher.gallery, entries, use_exif=searcher.encoders.use_exif)
    self._cameras = sorted({entry.camera for entry in entries} - {""})
    folders = {entry.path.partition("/")[0] for entry in entries if "/" in entry.path.lstrip("/")}
    self._folders = sorted(folders - {""})[:_MAX_FOLDERS]
    self._has_times = any(entry.time for entry in entries)
    self.sessions = Sessions(searcher, settings)
    # One search uses all devices and cores; several at once would only be slower.
    self.computing = threading.Lock()
    self._word_maps = WordMaps(searcher.encoders, self.pictures, self.computing)

  def gallery(self) -> schemas.GalleryResponse:
    """Returns what the page needs to know of the gallery."""
    root = self.searcher.gallery
    return schemas.GalleryResponse(
      id=hashlib.blake2b(str(root).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(),
      name=escaped(root.name), num_images=len(self.searcher), cameras=[escaped(name) for name in self._cameras],
      folders=[escaped(name) for name in self._folders], has_times=self._has_times, examples=list(_EXAMPLES),
      limits=schemas.Limits(
        max_top=self.settings.max_top, max_upload_bytes=self.settings.max_upload_bytes,
        max_upload_pixels=self.settings.max_upload_pixels, max_uploads=self.settings.max_uploads,
        text_length=self.searcher.text_length,
      ),
    )  # fmt: skip

  def pictures_of(self, image: str, session: Session | None) -> Pictures:
    """Returns the Pictures that an id is of: those of the gallery, or of the session."""
    return session.pictures if session is not None and image in session.pictures else self.pictures

  def search(self, request: schemas.SearchRequest, session: Session | None) -> schemas.SearchResponse:
    """Returns the results of a request, for a visitor with this session.

    Raises:
      ApiError, UserError: the request makes no sense.
    """
    if request.top > self.settings.max_top:
      raise ApiError(422, f"top: {request.top} results are too many; this server returns up to {self.settings.max_top}")
    if request.session and session is None:
      raise ApiError(404, "there are no uploaded pictures to search; they are deleted when a session ends")
    parts: list[tuple[float, Content]] = [(1.0, request.text)] if request.text.strip() else []
    if request.image is not None:
      pictures = self.pictures_of(request.image, session)
      parts.append((1.0, pictures.pixels(request.image, self.searcher.encoders.image_size)))
    if not parts:
      raise ApiError(422, "the query is empty; describe the person, or choose a picture")
    filters = request.filters
    for time in filter(None, (filters.start, filters.end)):
      seconds(time)
    where = Where(tuple(filters.cameras), filters.start, filters.end, tuple(filters.folders))
    searched = session if request.session else None
    searcher = self.searcher if searched is None else searched.searcher
    with self.computing:
      found = searcher.search(Query(parts), request.top, where)
    return schemas.SearchResponse(
      results=[_found(result, searched) for result in found], unseen=self._vocabulary.unseen(request.text)
    )

  def word_map(self, request: schemas.WordMapRequest, session: Session | None) -> schemas.WordMapResponse:
    """Returns where the picture of a request shows its word; errors as of `search`."""
    found = self._word_maps.find(self.pictures_of(request.image, session), request.image, request.text, request.number)
    return schemas.WordMapResponse(word=found.word, drop=found.drop, relevance=found.relevance.tolist())


def _found(result, session):
  image = id_of(key_of(result.path, result.box), "" if session is None else session.id)
  return schemas.FoundImage(
    rank=result.rank, score=result.score, id=image, camera=escaped(result.camera), time=escaped(result.time),
    path=escaped(result.path if session is None else session.names.get(image, result.path)), box=result.box,
  )  # fmt: skip
