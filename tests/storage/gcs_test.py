"""Listing a bucket, and the error message for each reason that a bucket cannot be used."""

import contextlib
import http.server
import json
import pathlib
import socket
import sys
import threading
import time

import google.auth
import pytest

from tests.commands import command
from tests.processes import Processes
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.storage import files, gcs, locations


def test_a_listing_includes_what_another_process_has_just_written(bucket):
  folder = locations.to_path(f"{bucket.url}/listing")
  files.write_bytes(folder / "b", b"2")
  assert (gcs.read_objects(folder), gcs.list_objects(folder / "nowhere")) == ([b"2"], [])
  assert [path.name for path in folder.iterdir()] == ["b"]
  program = f"from tireid_jax.storage import files; files.write_bytes('{folder}/a', b'1')"
  with Processes([[sys.executable, "-c", program]]) as one:
    one.succeed()
  assert gcs.read_objects(folder) == [b"1", b"2"]
  assert [path.name for path in folder.iterdir()] == ["a", "b"]
  assert (folder / "a").is_file()


# The unusable buckets below all have different names, because a process checks each bucket only once.


@contextlib.contextmanager
def answering(statuses):
  """Yields the URL of a server without objects; `statuses` maps HTTP methods to response codes."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
      self.rfile.read(int(self.headers.get("Content-Length") or 0))
      status = statuses[self.command]
      body = json.dumps({"kind": "storage#objects", "name": "b", "error": {"code": status, "message": "denied"}})
      self.send_response(status)
      self.send_header("Content-Type", "application/json")
      self.send_header("Content-Length", str(len(body)))
      self.end_headers()
      self.wfile.write(body.encode())

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
      pass

  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
      yield f"http://127.0.0.1:{server.server_port}"
    finally:
      server.shutdown()


def check_error(url):
  """Returns the type and message of the error that a check raises."""
  with pytest.raises((ValueError, FileNotFoundError)) as raised:
    locations.check(locations.to_path(url))
  assert len(str(raised.value).splitlines()) == 1
  return type(raised.value), str(raised.value)


def test_an_existing_bucket_passes_and_is_checked_only_once(bucket, monkeypatch):
  path = locations.to_path(f"{bucket.url}/run")
  assert locations.check(path) is path
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
  assert locations.check(path) is path


def test_a_missing_bucket_is_reported_with_the_command_to_create_it(bucket):
  assert check_error("gs://missing/run") == (
    MissingFileError, "there is no bucket gs://missing; create it with gcloud storage buckets create gs://missing",
  )  # fmt: skip


def test_a_forbidden_bucket_is_reported_with_the_roles_to_grant(monkeypatch):
  with answering({"GET": 403}) as server:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    kind, message = check_error("gs://forbidden/run")
  assert kind is UserError
  assert message == f"access to gs://forbidden is forbidden; grant this account {gcs.ROLES} on the bucket"


def test_a_forbidden_write_to_a_readable_bucket_is_reported(monkeypatch):
  with answering({"GET": 200, "POST": 403}) as server:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    path = locations.check(locations.to_path("gs://readable/run"))
    with pytest.raises(ValueError, match="^writing gs://readable/run/config.json is forbidden; grant this account"):
      files.write_bytes(path / "config.json", b"{}")


@pytest.fixture
def no_emulator(monkeypatch, tmp_path):
  """A machine outside Google Cloud on which nobody has logged in."""
  for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("NO_GCE_CHECK", "true")
  monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))


def test_missing_credentials_are_reported(no_emulator):
  kind, message = check_error("gs://anonymous/run")
  assert kind is UserError
  assert message.startswith("no valid credentials for gs://anonymous; run gcloud auth application-default login")


def test_a_slow_search_for_credentials_counts_as_no_credentials(no_emulator, monkeypatch):
  monkeypatch.setattr(gcs, "DEADLINE_S", 0.1)
  monkeypatch.setattr(google.auth, "default", lambda *_, **__: time.sleep(5))
  assert check_error("gs://slow/run")[1].startswith("no valid credentials for gs://slow;")


def test_a_missing_project_is_reported(no_emulator, monkeypatch):
  monkeypatch.setattr(google.auth, "default", lambda *_, **__: (google.auth.credentials.AnonymousCredentials(), None))
  assert check_error("gs://projectless/run")[1] == (
    "gs://projectless needs the name of a Google Cloud project; set GOOGLE_CLOUD_PROJECT"
  )


def test_a_missing_gcsfs_is_reported(monkeypatch):
  monkeypatch.setitem(sys.modules, "gcsfs", None)
  assert check_error("gs://uninstalled/run") == (
    UserError, "gs://uninstalled needs gcsfs, which is not installed; run pip install gcsfs",
  )  # fmt: skip


@pytest.mark.parametrize("first", ["the deadline", "the timeout of the request"])
def test_an_unresponsive_bucket_is_reported_after_the_deadline(monkeypatch, first):
  monkeypatch.setattr(gcs, "DEADLINE_S", 3)  # on a busy machine, the client itself takes a moment to start
  if first != "the deadline":
    join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "join", lambda thread, timeout=None: join(thread))
  with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
    began = time.monotonic()
    assert check_error("gs://silent/run")[1] == "gs://silent does not answer within 3 s; check the network"
  assert time.monotonic() - began < 30  # the client's own timeout is one minute


def test_an_unreachable_server_is_reported(monkeypatch):
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
  assert check_error("gs://unreachable/run")[1].startswith("gs://unreachable cannot be reached: ConnectionError: ")


def test_commands_exit_with_status_2_and_one_error_line(bucket, tmp_path):
  config = "--config=configs/rstp.py"
  cases = [
    (command("main", config, "--workdir=gs://missing/run"), "there is no bucket gs://missing; create"),
    (command("evaluate", "--workdir=s3://b/run", "--stage=1"), "--workdir=s3://b/run is not supported; give"),
    (command("export", f"--workdir={tmp_path}", "--to=gs://missing/x"), "there is no bucket gs://missing; create"),
    (command("data.prepare", config, "--raw=gs://b/raw"), "--raw=gs://b/raw must be a local path"),
  ]
  with Processes([arguments for arguments, _ in cases]) as processes:
    assert processes.wait() == [2] * len(cases)
    for number, (_, message) in enumerate(cases):
      (line,) = [line for line in processes.errors(number).splitlines() if line.startswith("error: ")]
      assert line.startswith(f"error: {message}")
      assert "Traceback" not in processes.errors(number)
  assert not pathlib.Path("gs:").exists()
