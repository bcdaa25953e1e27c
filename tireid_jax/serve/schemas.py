"""What the API takes and returns."""

from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

# Longer than any sentence that a model reads, so that the Searcher reports the number of tokens.
_MAX_TEXT = 10_000
ImageId = Annotated[str, Field(pattern="^[0-9a-f]{24}$", description="as in the results of a search")]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Request(BaseModel):
  model_config = ConfigDict(extra="forbid")

  @pydantic.field_validator("*")
  @classmethod
  def _is_unicode(cls, value):
    """Rejects lone surrogates, which JSON can hold and UTF-8 cannot."""
    for text in value if isinstance(value, list) else [value]:
      if isinstance(text, str) and not text.isascii():
        text.encode()  # a UnicodeEncodeError is a ValueError
    return value


class Filters(_Request):
  """What a result must satisfy."""

  cameras: list[_Name] = Field(default=[], max_length=1000, description="one of these; empty for any")
  folders: list[_Name] = Field(default=[], max_length=1000, description="below one of these; empty for any")
  start: str = Field(default="", max_length=100, description="earliest time, a number or ISO 8601; empty for no limit")
  end: str = Field(default="", max_length=100, description="latest time, a number or ISO 8601; empty for no limit")


class SearchRequest(_Request):
  """A sentence, an image, or a mix of both, whose normalised embeddings are added."""

  text: str = Field(default="", max_length=_MAX_TEXT)
  image: ImageId | None = None
  top: int = Field(default=10, ge=1, description="how many results")
  filters: Filters = Filters()
  session: bool = Field(default=False, description="whether to search the uploaded images instead of the gallery")


class FoundImage(BaseModel):
  """An image that a search found; the score orders the results of one search and means nothing across searches."""

  rank: int
  score: float
  id: str
  path: str
  camera: str
  time: str
  box: tuple[int, int, int, int] | None


class SearchResponse(BaseModel):
  """The best images, best first."""

  results: list[FoundImage]
  unseen: list[str] = Field(
    description="words of the text that are in no caption of the run's training data; empty if those are not known"
  )


class WordMapRequest(_Request):
  """A word of a sentence, to be found in an image."""

  image: ImageId
  text: str = Field(max_length=_MAX_TEXT, description="a sentence, whose words are what white space separates")
  number: int = Field(ge=0, description="of the word, from 0")


class WordMapResponse(BaseModel):
  """Which parts of an image the similarity that a word adds comes from."""

  word: str
  drop: float = Field(description="similarity to the sentence, less that to the sentence without the word")
  relevance: list[list[float]] = Field(description="of each cell of a grid over the image, from the top left")


class Limits(BaseModel):
  """What the server accepts."""

  max_top: int
  max_upload_bytes: int
  max_upload_pixels: int
  max_uploads: int
  text_length: int = Field(description="longest sentence in tokens, including the start and end token")


class GalleryResponse(BaseModel):
  """What can be searched and filtered by."""

  id: str = Field(description="of this gallery, the same each time that it is served")
  name: str
  num_images: int
  cameras: list[str]
  folders: list[str]
  has_times: bool
  examples: list[str] = Field(description="sentences to start with")
  limits: Limits


class Mark(_Request):
  """A judgement of one image for a description."""

  image: ImageId
  caption: str = Field(max_length=_MAX_TEXT, description="the description that the image was judged by")
  mark: Literal["this", "fits", "wrong"] = Field(
    description="this: the person; fits: another person whom the description fits; wrong: it does not fit"
  )


class MarksRequest(_Request):
  """Marks to export."""

  marks: list[Mark] = Field(min_length=1, max_length=20_000)


class AnnotationsResponse(BaseModel):
  """Files of JSON lines."""

  annotations: str = Field(description="for `python -m tireid_jax.data.prepare --config=custom`")
  wrong: str = Field(description="images and the descriptions that do not fit them")
  num_persons: int
  num_images: int
  num_gone: int = Field(description="marks of images that are no longer in the gallery, which were left out")


class LoginRequest(_Request):
  """The token of this server."""

  token: str = Field(max_length=1000)


class Upload(BaseModel):
  """An uploaded image."""

  id: str
  name: str


class SessionResponse(BaseModel):
  """The uploaded images of a session."""

  images: list[Upload]


class Error(BaseModel):
  """Why a request was not answered, in one line."""

  error: str
