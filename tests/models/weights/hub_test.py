"""Weights by hub id, from a fake hub and without a network."""

import importlib
import os
import subprocess
import sys
import time

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HTTPError, OfflineModeIsEnabled
from safetensors.numpy import save_file

from tests.commands import ROOT
from tests.models.trees import SMALL, write_hf_clip
from tireid_jax.models import pretrained
from tireid_jax.models.weights import files, hub
from tireid_jax.storage import hub as storage_hub

# The HTTP library of the installed hub client: httpx, or httpx2 from version 2.
httpx = importlib.import_module(HTTPError.__module__.partition(".")[0])


class Siblings:
  """The hub's description of a model: the names of its files."""

  def __init__(self, names):
    self.siblings = [type("File", (), {"rfilename": name}) for name in names]


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
  """Returns make(names), which fakes a hub with a model of these files and returns the list of download requests."""
  requests = []

  def make(names):
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, timeout: Siblings(names))

    def snapshot_download(name, allow_patterns):
      requests.append((name, allow_patterns))
      if "open_clip_config.json" in names:
        (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_clip_224"}')
      if len(allow_patterns) > 2 and "config.json" not in names:
        write_hf_clip(tmp_path, SMALL)
      return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return requests

  return make


@pytest.mark.parametrize(
  ("name", "is_one"),
  [
    ("openai/clip-vit-base-patch16", True), ("laion/CLIP-ViT-B-32.laion2B_s34B", True), ("clip", False),
    ("/data/clip", False), ("../clip", False), ("a/b/c", False), ("~/clip", False), ("", False),
  ],
)  # fmt: skip
def test_a_hub_id_is_distinguished_from_a_path(name, is_one):
  assert storage_hub.is_hub_id(name) == is_one


@pytest.mark.parametrize(
  ("names", "fetched"),
  [
    (["pytorch_model.bin", "model.safetensors", "flax_model.msgpack"], ["model.safetensors"]),
    (
      ["model.safetensors.index.json", "model-1.safetensors"],
      ["model.safetensors.index.json", "model-*.safetensors"],
    ),
    (["open_clip_pytorch_model.bin", "open_clip_model.safetensors"], ["open_clip_model.safetensors"]),
    (["flax_model.msgpack", "README.md"], ["flax_model.msgpack"]),
  ],
)
def test_one_format_of_the_weights_is_fetched_with_the_configs(fake_hub, names, fetched, capsys):
  requests = fake_hub(names)
  model, _ = pretrained.load("some/clip", SMALL.native_image_size)
  assert model.variant == SMALL
  assert requests == [("some/clip", ["config.json", "open_clip_config.json", *fetched])]
  assert f"fetching some/clip from the hub: {fetched[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out/my--clip", "out/my.git", "runs/W1-"])
def test_a_path_that_looks_like_a_hub_id_raises_one_line(name):
  with pytest.raises(FileNotFoundError, match=f"there is no folder {name}, and the hub has no model of that name"):
    pretrained.load(name)


@pytest.mark.parametrize(("reason", "shown"), [("no more bytes\nof it", "no more bytes"), ("", "no reason given")])
def test_a_failed_download_raises_one_line(fake_hub, monkeypatch, reason, shown):
  def fail(name, allow_patterns):
    raise httpx.ReadTimeout(reason)

  fake_hub(["model.safetensors"])
  monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
  with pytest.raises(
    FileNotFoundError, match=rf"^some/clip cannot be downloaded from the hub \(ReadTimeout: {shown}\);"
  ):
    pretrained.load("some/clip")


@pytest.mark.parametrize("step", ["the list of files", "the download"])
def test_an_error_without_a_message_is_reported_by_its_type(fake_hub, monkeypatch, step):
  def fail(*_, **__):
    raise httpx.ConnectTimeout("")

  def fail_without_copy(*_, local_files_only=False, **__):
    raise OSError if local_files_only else httpx.ConnectTimeout("")

  fake_hub(["model.safetensors"])
  if step == "the list of files":
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
  monkeypatch.setattr(huggingface_hub, "snapshot_download", fail_without_copy)
  with pytest.raises(FileNotFoundError, match=r"\(ConnectTimeout: no reason given\); "):
    hub.fetch("some/clip")


def test_a_model_without_weights_raises_and_its_files_are_listed(fake_hub):
  assert fake_hub(["README.md", "model.onnx"]) == []
  with pytest.raises(
    FileNotFoundError, match=r"some/clip on the hub has no weights in a supported format, only README.md, model.onnx"
  ):
    pretrained.load("some/clip")


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), OfflineModeIsEnabled("offline"), OSError("no route")])
def test_the_cached_copy_is_used_if_the_hub_cannot_be_reached(monkeypatch, tmp_path, error):
  def unreachable(self, name, timeout):
    raise error

  write_hf_clip(tmp_path, SMALL)
  monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
  monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path))
  assert pretrained.load("some/clip", SMALL.native_image_size)[0].variant == SMALL


def test_a_cached_tokenizer_does_not_count_as_weights(monkeypatch, tmp_path):
  def unreachable(self, name, timeout):
    raise httpx.ConnectError("refused")

  (tmp_path / "tokenizer.json").write_text("{}")
  monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
  monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path))
  with pytest.raises(
    FileNotFoundError, match=r"the hub cannot be reached \(ConnectError: refused\); download the model"
  ):
    hub.fetch("some/clip")


def test_the_cached_revision_is_logged_once_and_is_that_of_the_weights(monkeypatch, tmp_path, capsys):
  def unreachable(self, name, timeout):
    raise httpx.ConnectError("refused")

  commit = "0123456789abcdef" * 2 + "01234567"
  folder = tmp_path / "models--some--clip" / "snapshots" / commit
  write_hf_clip(folder, SMALL)
  monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
  monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(folder))
  storage_hub._log_once.cache_clear()
  assert [pretrained.open_weights("some/clip").revision for _ in range(2)] == [commit, commit]
  (line,) = [line for line in capsys.readouterr().err.splitlines() if "cached" in line]
  assert line == (f"the hub cannot be reached (ConnectError); the cached copy of some/clip is used, revision {commit}")
  assert pretrained.open_weights(folder).revision == ""  # a folder, not a model of the hub


def test_without_network_a_hub_id_raises_one_line_without_the_hubs_retries(tmp_path):
  # A separate process, all of whose connections go to a port without a listener.
  program = """
import time
import huggingface_hub.hf_api
from tireid_jax.models import pretrained
began = time.monotonic()
try:
  pretrained.load("openai/clip-vit-base-patch16")
except FileNotFoundError as error:
  print(time.monotonic() - began, error, sep="\\n")
"""
  proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"))
  environment = {name: value for name, value in os.environ.items() if name not in proxies}
  environment |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
  )
  assert done.returncode == 0, done.stderr
  seconds, *message = done.stdout.splitlines()
  assert float(seconds) < 15  # the hub's own functions take 23 and more
  assert len(message) == 1
  assert message[0].startswith("there is no folder openai/clip-vit-base-patch16, and the hub cannot be reached")


def test_the_clip_of_a_timm_repository_is_fetched_rather_than_its_image_encoder(fake_hub):
  requests = fake_hub(["config.json", "model.safetensors", "open_clip_config.json", "open_clip_model.safetensors"])
  hub.fetch("timm/vit_base_patch16_clip_224.openai")
  assert requests[-1][1][2:] == ["open_clip_model.safetensors"]


def test_the_clip_of_a_timm_folder_is_read_rather_than_its_image_encoder(tmp_path):
  write_hf_clip(tmp_path, SMALL)
  (tmp_path / "model.safetensors").rename(tmp_path / "open_clip_model.safetensors")
  (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_clip_224"}')
  save_file({"blocks.0.norm1.weight": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
  assert files.open_weights(tmp_path).path.name == "open_clip_model.safetensors"


@pytest.mark.parametrize("step", ["the list of files", "the download"])
def test_the_error_for_a_gated_model_says_how_to_get_access(fake_hub, monkeypatch, step):
  response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co/some/clip"))

  def deny(*_, **__):
    raise GatedRepoError("403 Client Error", response=response)

  fake_hub(["model.safetensors"])
  if step == "the download":
    monkeypatch.setattr(huggingface_hub, "snapshot_download", deny)
  else:
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", deny)
  with pytest.raises(
    ValueError, match=r"^the hub's some/clip is gated: request access at https://.*/some/clip, then run hf auth login"
  ):
    hub.fetch("some/clip")


def test_the_timeout_of_a_slow_hub_is_set_by_its_variable(monkeypatch, tmp_path):
  import socket

  with socket.socket() as unresponsive:
    unresponsive.bind(("127.0.0.1", 0))
    unresponsive.listen()
    endpoint = f"http://127.0.0.1:{unresponsive.getsockname()[1]}"
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: original(endpoint=endpoint))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_copy)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match="cannot be reached .*wait longer by HF_HUB_ETAG_TIMEOUT=SECONDS, or "):
      hub.fetch("some/clip")
    assert 1 <= time.monotonic() - start < 9  # and not the 10 s of the hub's client


original = huggingface_hub.HfApi


def no_copy(name, **_):
  raise huggingface_hub.errors.LocalEntryNotFoundError(f"no copy of {name}")
