"""Errors of the API: a status and one line, sent as JSON {"error": LINE}."""

from collections.abc import Mapping

from starlette.responses import JSONResponse


class ApiError(Exception):
  """A request that is not answered.

  Attributes:
    status: of HTTP.
    headers: of the response.
  """

  def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
    super().__init__(line)
    self.status, self.headers = status, dict(headers or {})


def response(error: ApiError) -> JSONResponse:
  """Returns the response for an error."""
  return json_of(error.status, str(error), error.headers)


def json_of(status: int, line: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
  """Returns the response with a status and a line, in which characters that UTF-8 lacks are escaped."""
  return JSONResponse({"error": " ".join(escaped(line).split())}, status, headers=headers)


def escaped(text: str) -> str:
  """Returns text that UTF-8 can encode; file names may hold other bytes, which Python reads as lone surrogates."""
  return text.encode("utf-8", "backslashreplace").decode()
