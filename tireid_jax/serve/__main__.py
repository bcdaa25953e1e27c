"""Serves a web page to search a folder of person images with.

python -m tireid_jax.serve --workdir=W --gallery=DIR
python -m tireid_jax.serve --pretrained=CLIP --gallery=DIR --port=9000
python -m tireid_jax.serve --workdir=W --gallery=DIR --host=0.0.0.0 --allowed_host=gallery.example

Needs `pip install ".[serve]"`. All new and changed images are encoded before the page is served, as by `search`. The
page is served to this machine only unless --host or --allowed_host says otherwise; then a token is needed, that of
--token_file or the one that is printed at the start. Use a reverse proxy for HTTPS.
"""

import errno
import importlib.util
import ipaddress
import secrets
import socket
from typing import Any

from absl import flags

from tireid_jax import cli
from tireid_jax.errors import UserError, naming
from tireid_jax.search import searcher_flags
from tireid_jax.serve import vocabulary
from tireid_jax.serve.settings import Settings
from tireid_jax.serve.vocabulary import Vocabulary
from tireid_jax.storage import compilation_cache, locations
from tireid_jax.terminal.progress import log_line

# Shorter tokens can be guessed.
_MIN_TOKEN = 16


def main(_: list[str]) -> None:
  options = flags.FLAGS
  settings, listener = check(options)
  import uvicorn

  from tireid_jax.serve.app import make_app

  compilation_cache.enable_persistent_cache()
  searcher = searcher_flags.open_searcher(options)
  if options.gallery:
    report = searcher.update(boxes=options.boxes, show_progress=True)
    log_line(f"{len(searcher):,} images, {len(report.unreadable):,} unreadable")
  app = make_app(searcher, settings, _vocabulary(options.workdir, searcher_flags.stage_of(options)))
  name = options.allowed_host[0] if options.allowed_host else options.host
  log_line(f"open http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}/ (Ctrl-C stops the server)")
  if settings.token and not options.token_file:
    log_line(f"token: {settings.token}")
  config = uvicorn.Config(
    app, log_level="warning", access_log=False, proxy_headers=False, server_header=False, limit_concurrency=256,
    timeout_graceful_shutdown=5,
  )  # fmt: skip
  uvicorn.Server(config).run(sockets=[listener])


def check(options: Any) -> tuple[Settings, socket.socket]:
  """Returns the Settings of the flags and the socket to listen on, before a model is loaded.

  Raises:
    UserError, MissingFileError: the flags do not fit together, or the port cannot be used.
  """
  for name in ("fastapi", "starlette", "uvicorn"):
    if importlib.util.find_spec(name) is None:
      raise UserError(f'serve needs the package {name}; run pip install "tireid_jax[serve]"')
  if options.boxes and not options.gallery:
    raise UserError("--boxes changes the index; give --gallery=DIR too")
  searcher_flags.check(options)
  return _settings(options.host, options.allowed_host, options.token_file), listen(options.host, options.port)


def listen(host: str, port: int) -> socket.socket:
  """Returns a socket that listens at an address.

  Raises:
    UserError: the port is in use or not permitted, or the address is not one of this machine.
  """
  if not 0 <= port < 2**16:
    raise UserError(f"--port={port} is not a port; give a number from 1024 to 65535, or 0 for any that is free")
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
  except (OSError, UnicodeError) as error:
    raise UserError(f"--host={host}: there is no such address ({error})") from error
  listener = socket.socket(family, kind, protocol)
  listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    listener.bind(address)
    listener.listen(2048)
  except OSError as error:
    listener.close()
    if error.errno == errno.EADDRINUSE:
      raise UserError(f"--port={port} is in use by another program; end it, or choose another port") from error
    if error.errno == errno.EACCES:
      raise UserError(f"--port={port} needs the rights of an administrator; choose one from 1024") from error
    raise UserError(f"--host={host} is not an address of this machine ({error.strerror})") from error
  return listener


def _settings(host: str, allowed: list[str], token_file: str) -> Settings:
  """Returns the Settings for an address to listen at. A name beyond loopback, as of a proxy, requires a token too."""
  is_loopback = _is_loopback(host)
  if not is_loopback and not allowed and host in ("0.0.0.0", "::", ""):
    raise UserError(f"--host={host} listens at all addresses; give --allowed_host=NAME, by which browsers call it")
  token = _read_token(token_file) if token_file else ""
  if not all(_is_loopback(name) for name in (host, *allowed)):
    token = token or secrets.token_urlsafe(24)
  names = [*Settings.hosts, host, *allowed] if is_loopback else allowed or [host]
  return Settings(hosts=tuple(name.lower() for name in names), token=token)


def _vocabulary(workdir: str, stage: str) -> Vocabulary:
  """Returns the Vocabulary of a run; an empty one for published weights, or if the training data are not there."""
  if not workdir:
    return Vocabulary([])
  try:
    return vocabulary.of_run(workdir, stage)
  except UserError as error:
    log_line(f"words that the model was not trained on are not marked: {error}")
    return Vocabulary([])


def _is_loopback(host: str) -> bool:
  if host.lower() == "localhost":
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def _read_token(file: str) -> str:
  path = locations.local_path(file, "--token_file")
  with naming(path):
    token = path.read_text(errors="replace").strip()
  if len(token) < _MIN_TOKEN or not token.isascii() or any(character.isspace() for character in token):
    raise UserError(
      f"--token_file={file} must contain at least {_MIN_TOKEN} ASCII characters without spaces, and nothing else"
    )
  return token


if __name__ == "__main__":
  searcher_flags.define()
  flags.DEFINE_string("host", "127.0.0.1", "address to listen at; others than loopback require a token")
  flags.DEFINE_integer("port", 8000, "to listen at; 0 for any that is free")
  flags.DEFINE_multi_string(
    "allowed_host", [], "name by which browsers call the server; may be repeated; others than loopback require a token"
  )
  flags.DEFINE_string("token_file", "", "file with the token; without it, one is made and printed if needed")
  cli.run(main)
