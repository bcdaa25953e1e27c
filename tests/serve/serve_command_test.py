"""python -m tireid_jax.serve: bad input ends before a model is loaded, in one line."""

import socket
import types

import pytest

from tests.forked import run as run_command
from tireid_jax.errors import UserError
from tireid_jax.serve import __main__ as serve

DEFAULTS = {
  "config": None, "pretrained": "", "stage": None, "gallery": "", "boxes": "", "index": "", "host": "127.0.0.1",
  "port": 0, "allowed_host": [], "token_file": "",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
  (tmp_path / "gallery").mkdir()
  (tmp_path / "short").write_text("secret\n")
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"gallery": "short"}, "--gallery=short is a file"),
    ({"gallery": "none"}, "--gallery=none: there is no such folder"),
    ({"boxes": "x.csv"}, "give --gallery=DIR too"),
    ({"pretrained": "toy_clip", "stage": "1"}, "--stage=1 is of a run"),
    ({"host": "0.0.0.0"}, "give --allowed_host=NAME"),
    ({"host": "192.0.2.1"}, "--host=192.0.2.1 is not an address of this machine"),
    ({"port": 99_999}, "--port=99999 is not a port"),
    ({"token_file": "short"}, "must contain at least 16 ASCII characters"),
    ({"token_file": "none"}, "none: there is no such file"),
  ],
)
def test_bad_flags_are_reported_in_one_line(folder, flags, message):
  with pytest.raises((UserError, OSError), match=message) as raised:
    serve.check(types.SimpleNamespace(**{**DEFAULTS, **({} if "boxes" in flags else {"gallery": "gallery"}), **flags}))
  assert "\n" not in str(raised.value)


def test_a_missing_package_is_reported_with_the_command_that_installs_it(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else name)
  with pytest.raises(UserError, match=r'needs the package uvicorn; run pip install "tireid_jax\[serve\]"'):
    serve.check(types.SimpleNamespace(**DEFAULTS))


def test_a_port_in_use_ends_the_command_with_one_line_and_status_2(folder):
  with serve.listen("127.0.0.1", 0) as listener:
    port = listener.getsockname()[1]
    done = run_command("serve", "--workdir=run", "--gallery=gallery", f"--port={port}", folder=folder)
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1] == (
    f"error: --port={port} is in use by another program; end it, or choose another port"
  )


def test_only_loopback_needs_no_token(tmp_path):
  assert serve._settings("127.0.0.1", [], "").token == ""
  assert serve._settings("::1", ["localhost"], "").token == ""
  proxied = serve._settings("LOCALHOST", ["Me.example"], "")
  assert proxied.hosts[-2:] == ("localhost", "me.example")
  assert len(proxied.token) >= 32
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
