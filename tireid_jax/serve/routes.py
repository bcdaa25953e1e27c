"""The routes of the gallery: search, pictures, what is known of it, and the login."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from tireid_jax.serve import marks, schemas, security
from tireid_jax.serve.errors import ApiError
from tireid_jax.serve.service import Service
from tireid_jax.serve.sessions import Session

# Of every route, for OpenAPI.
ERRORS: dict[int | str, dict[str, Any]] = {
  status: {"model": schemas.Error, "description": description}
  for status, description in {
    400: "another Host, or a body that ends early",
    401: "without the token",
    403: "from a page of another site",
    404: "no such image",
    413: "too large",
    422: "makes no sense",
    429: "too many requests",
  }.items()
}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "the picture"}}
SESSION_COOKIE = "tireid_session"
_Id = Annotated[str, Path(pattern="^[0-9a-f]{24}$")]
# The picture of an id changes only if its file does.
_CACHED = {"cache-control": "private, max-age=3600"}


def session_of(service: Service, http: Request) -> Session | None:
  """Returns the session of a request, None without one."""
  return service.sessions.find(http.cookies.get(SESSION_COOKIE))


def is_https(http: Request) -> bool:
  """Returns whether a page sent this by HTTPS, which ends at a proxy: the server itself only sees http."""
  return http.headers.get("origin", "").startswith("https://")


def router(service: Service) -> APIRouter:
  """Returns the routes of a Service."""
  api = APIRouter(prefix="/api", responses=ERRORS)

  @api.get("/gallery")
  def gallery() -> schemas.GalleryResponse:
    """What can be searched and filtered by, and the limits of this server."""
    return service.gallery()

  @api.post("/search")
  def search(request: schemas.SearchRequest, http: Request) -> schemas.SearchResponse:
    """The images that fit a sentence, an image or both best."""
    return service.search(request, session_of(service, http))

  @api.post("/word_map")
  def word_map(request: schemas.WordMapRequest, http: Request) -> schemas.WordMapResponse:
    """Where an image shows a word of a sentence, for the model."""
    return service.word_map(request, session_of(service, http))

  @api.get("/images/{image}", response_class=Response, responses=_JPEG)
  def full_image(image: _Id, http: Request) -> Response:
    """An image, scaled down if it is large."""
    return _picture(service, image, "full", http)

  @api.get("/images/{image}/thumbnail", response_class=Response, responses=_JPEG)
  def thumbnail(image: _Id, http: Request) -> Response:
    """A small version of an image, made when it is first requested."""
    return _picture(service, image, "thumbnail", http)

  @api.post("/annotations")
  def annotations(request: schemas.MarksRequest) -> schemas.AnnotationsResponse:
    """Marks of images of the gallery as an annotation file for training, and the wrong ones in a list of their own."""
    present = [mark for mark in request.marks if mark.image in service.pictures]
    marked = [marks.Marked(service.pictures.entry(mark.image), mark.caption, mark.mark) for mark in present]
    num_gone = len(request.marks) - len(present)
    return schemas.AnnotationsResponse(**marks.export(marked)._asdict(), num_gone=num_gone)

  @api.post("/login", status_code=204)
  def login(request: schemas.LoginRequest, http: Request) -> Response:
    """Sets the cookie that stands for the token."""
    token = service.settings.token
    if token and not security.is_token(request.token, token):
      raise ApiError(401, "this is not the token of this server")
    response = Response(status_code=204)
    if token:
      response.set_cookie(
        security.COOKIE, security.cookie_of(token), httponly=True, samesite="strict", secure=is_https(http)
      )
    return response

  return api


def _picture(service: Service, image: str, size: str, http: Request) -> Response:
  pictures = service.pictures_of(image, session_of(service, http))
  # An uploaded picture is in no cache after its session.
  headers = _CACHED if pictures is service.pictures else {"cache-control": "no-store"}
  return Response(pictures.jpeg(image, size), media_type="image/jpeg", headers=headers)
