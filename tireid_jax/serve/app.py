"""The ASGI application: static files of the page, the API, and the middleware around both."""

import asyncio
import contextlib
import importlib.resources
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tireid_jax.errors import UserError
from tireid_jax.search import Searcher
from tireid_jax.serve import routes, session_routes
from tireid_jax.serve.errors import ApiError, json_of, response
from tireid_jax.serve.security import Guard
from tireid_jax.serve.service import Service
from tireid_jax.serve.settings import Settings
from tireid_jax.serve.vocabulary import Vocabulary

_MEDIA_TYPES = {
  "html": "text/html; charset=utf-8",
  "css": "text/css; charset=utf-8",
  "js": "text/javascript; charset=utf-8",
  "svg": "image/svg+xml",
}
# Seconds between two looks for sessions that nobody uses any more.
_SWEEP_S = 30.0


def make_app(searcher: Searcher, settings: Settings, vocabulary: Vocabulary | None = None) -> FastAPI:
  """Returns the application that searches with a Searcher.

  Args:
    searcher: whose index is up to date and not empty.
    settings: Settings.
    vocabulary: words that the model was trained on, None if they are not known; others are reported.

  Raises:
    UserError: the index is empty.
  """
  if not len(searcher):
    raise UserError(f"no image of {searcher.gallery} has been indexed, so there is nothing to search")
  service = Service(searcher, settings, vocabulary or Vocabulary([]))
  app = FastAPI(
    title="tireid_jax", description="Search a gallery of person images by sentence and image.", docs_url=None,
    redoc_url=None, openapi_url="/api/openapi.json", redirect_slashes=False, lifespan=_ending_sessions(service),
  )  # fmt: skip
  app.include_router(routes.router(service))
  app.include_router(session_routes.router(service))
  _add_page(app)
  _add_error_handlers(app)
  app.add_middleware(Guard, settings=settings)
  return app


def _ending_sessions(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
  """Returns the lifespan of an application: it ends unused sessions while it runs, and all when it ends."""

  async def sweep() -> None:
    while True:
      await asyncio.sleep(_SWEEP_S)
      await run_in_threadpool(service.sessions.sweep)

  @contextlib.asynccontextmanager
  async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(sweep())
    try:
      yield
    finally:
      task.cancel()
      service.sessions.close()

  return lifespan


def _add_page(app: FastAPI) -> None:
  """Adds the files of the page. They are read once, so no request names a path on the disk."""
  folder = importlib.resources.files(__package__) / "static"
  files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _MEDIA_TYPES}

  def send(name: str) -> Response:
    if name not in files:
      raise ApiError(404, "there is no such page")
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(files[name], media_type=media_type, headers={"cache-control": "no-cache"})

  @app.get("/", include_in_schema=False)
  def page() -> Response:
    return send("index.html")

  @app.get("/static/{name}", include_in_schema=False)
  def static(name: str) -> Response:
    return send(name)


def _add_error_handlers(app: FastAPI) -> None:
  @app.exception_handler(ApiError)
  def api_error(_: Request, error: ApiError) -> Response:
    return response(error)

  @app.exception_handler(UserError)
  def user_error(_: Request, error: UserError) -> Response:
    return json_of(422, str(error))

  @app.exception_handler(RequestValidationError)
  def invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return json_of(422, f"{where}: {first['msg']}" if where else first["msg"])

  @app.exception_handler(HTTPException)
  def http_error(_: Request, error: HTTPException) -> Response:
    lines = {404: "there is no such page", 405: "this address does not support that method"}
    return json_of(error.status_code, lines.get(error.status_code, str(error.detail)), error.headers)

  @app.exception_handler(Exception)
  def unexpected(_: Request, error: Exception) -> Response:
    del error  # Starlette raises it again after the response, and uvicorn logs it with its traceback
    return json_of(500, "the server failed; its log has the details")
