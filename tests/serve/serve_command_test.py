"""python -m tireid_jax.serve, as a user calls it: bad input ends before a model is loaded, in one line."""

import socket

import pytest

from tests.forked import run as run_command
from tests.search import searching
from tireid_jax.errors import UserError
from tireid_jax.serve import __main__ as serve


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("project")
  searching.make_pictures(folder / "gallery", ["1.png"])
  (folder / "short").write_text("secret\n")
  (folder / "empty").mkdir()
  searching.make_run(folder / "run")
  return folder


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--gallery=gallery/1.png"], "--gallery=gallery/1.png is a file"),
    (["--gallery=none"], "--gallery=none: there is no such folder"),
    ([], "give --gallery=DIR"),
    (["--boxes=x.csv"], "give --gallery=DIR too"),
    (["--gallery=empty", "--port=0"], "no image of "),
    (["--gallery=gallery", "--host=0.0.0.0"], "give --allowed_host=NAME"),
    (["--gallery=gallery", "--host=192.0.2.1"], "--host=192.0.2.1 is no address of this machine"),
    (["--gallery=gallery", "--port=99999"], "--port=99999"),
    (["--gallery=gallery", "--token_file=short"], "must hold at least 16 ASCII characters"),
    (["--gallery=gallery", "--token_file=none"], "none: there is no such file"),
    (["--gallery=gallery", "--port=0", "--stage=7"], "stage"),
  ],
)
def test_bad_input_ends_with_one_line_and_status_2(folder, flags, message):
  done = (
    run_command("serve", "--workdir=run", "--index=index", *flags, folder=folder)
    if flags
    else run_command("serve", "--workdir=run", "--port=0", folder=folder)
  )
  assert done.returncode == 2, done.stderr
  assert done.stderr.splitlines()[-1].startswith("error: ")
  assert message in done.stderr.splitlines()[-1]


def test_a_port_in_use_is_reported(folder):
  with serve.listen("127.0.0.1", 0) as listener:
    port = listener.getsockname()[1]
    done = run_command("serve", "--workdir=run", "--gallery=gallery", f"--port={port}", folder=folder)
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1] == (
    f"error: --port={port} is in use by another program; end it, or choose another port"
  )


def test_only_loopback_needs_no_token(tmp_path):
  assert serve._settings("127.0.0.1", [], "").token == ""
  assert serve._settings("LOCALHOST", ["Me.example"], "").hosts[-2:] == ("localhost", "me.example")
  beyond = serve._settings("0.0.0.0", ["gallery.example"], "")
  assert len(beyond.token) >= 32
  assert beyond.hosts == ("gallery.example",)
  (tmp_path / "token").write_text("a" * 16 + "\n")
  assert serve._settings("192.0.2.1", [], str(tmp_path / "token")).token == "a" * 16
  with pytest.raises(UserError, match="give --allowed_host"):
    serve._settings("::", [], "")


def test_a_free_port_is_found():
  with serve.listen("localhost", 0) as listener:
    assert isinstance(listener, socket.socket)
    assert listener.getsockname()[1] > 0
