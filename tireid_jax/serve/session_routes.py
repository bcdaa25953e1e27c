"""The routes of uploaded pictures. A session is known by a cookie, which a page of another site cannot send."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from tireid_jax.serve import routes, schemas
from tireid_jax.serve.errors import ApiError
from tireid_jax.serve.service import Service


def router(service: Service) -> APIRouter:
  """Returns the routes of the sessions of a Service."""
  errors = {
    **routes.ERRORS,
    409: {"model": schemas.Error, "description": "the session is full"},
    503: {"model": schemas.Error, "description": "too many sessions"},
  }
  body = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}
  api = APIRouter(prefix="/api/session", responses=errors)

  @api.get("")
  def uploaded(http: Request) -> schemas.SessionResponse:
    """The uploaded images."""
    session = routes.session_of(service, http)
    names = {} if session is None else dict(session.names)
    return schemas.SessionResponse(images=[schemas.Upload(id=key, name=name) for key, name in names.items()])

  @api.post("/images", status_code=201, openapi_extra=body, response_model=schemas.Upload)
  async def upload(http: Request, name: Annotated[str, Query(max_length=200)] = "image") -> Response:
    """Uploads an image, the body of the request, into a gallery of this session."""
    content = await http.body()
    if not content:
      raise ApiError(422, "the request holds no image; send its bytes as the body")

    def add():
      found = routes.session_of(service, http)
      session = service.sessions.begin() if found is None else found
      try:
        picture = session.add(content, name, service.settings, service.computing)
      except BaseException:
        if found is None:
          service.sessions.end(session.id)
        raise
      return session, picture

    session, picture = await run_in_threadpool(add)
    response = JSONResponse({"id": picture, "name": name}, 201)
    response.set_cookie(
      routes.SESSION_COOKIE, session.id, httponly=True, samesite="strict", secure=routes.is_https(http)
    )
    return response

  @api.delete("", status_code=204)
  def end(http: Request) -> Response:
    """Ends the session: its images are deleted."""
    service.sessions.end(http.cookies.get(routes.SESSION_COOKIE, ""))
    response = Response(status_code=204)
    response.delete_cookie(routes.SESSION_COOKIE, httponly=True, samesite="strict")
    return response

  return api
