"""Weights by their name on the Hugging Face hub: from the local cache, else downloaded."""

import functools
import pathlib
import re

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
  GatedRepoError,
  HfHubHTTPError,
  HFValidationError,
  HTTPError,  # of the HTTP library that this version uses, httpx or httpx2
  LocalEntryNotFoundError,
  OfflineModeIsEnabled,
  RepositoryNotFoundError,
)

from tireid_jax.errors import MissingFileError, first_line
from tireid_jax.models.weights import settings
from tireid_jax.storage import hub_errors
from tireid_jax.terminal.progress import say

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIGS = ["config.json", "open_clip_config.json"]
# The first of these that a repository has is fetched; each is (the file that tells, all that belong to it).
_WEIGHTS = (
  ("model.safetensors", ["model.safetensors"]),
  ("model.safetensors.index.json", ["model.safetensors.index.json", "model-*.safetensors"]),
  ("open_clip_model.safetensors", ["open_clip_model.safetensors"]),
  ("pytorch_model.bin", ["pytorch_model.bin"]),
  ("open_clip_pytorch_model.bin", ["open_clip_pytorch_model.bin"]),
  ("flax_model.msgpack", ["flax_model.msgpack"]),
)

# Letters of what the hub's client says of an error.
_MAX_REASON = 100

_say_once = functools.cache(say)


def is_hub_id(name):
  """Tells ORGANISATION/NAME from what can only be a path."""
  return _HUB_ID.fullmatch(name) is not None


def fetch(hub_id):
  """Returns the folder of a model of the hub, its config and one file of weights downloaded if need be.

  The hub's client reads HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, and how many seconds to wait for an answer and for a
  piece of a file from HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT (10 each).

  Raises:
    FileNotFoundError: if there is no such model, or no network and no cached copy.
    ValueError: if the model is gated, and this account has not been let in.
  """
  if not is_hub_id(hub_id):
    raise MissingFileError(f"there is no file or folder {hub_id}; give one, or a hub id as ORGANISATION/NAME")
  try:
    info = huggingface_hub.HfApi().model_info(hub_id, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    files = [file.rfilename for file in info.siblings or []]
  except GatedRepoError as error:
    raise hub_errors.gated(hub_id) from error
  except (RepositoryNotFoundError, HFValidationError) as error:
    raise MissingFileError(f"there is no folder {hub_id}, and the hub has no model of that name") from error
  except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError) as error:
    return _cached(hub_id, error)
  found = [patterns for mark, patterns in _WEIGHTS if mark in files]
  if not found:
    raise MissingFileError(f"the hub's {hub_id} holds no weights that can be read here: {', '.join(files[:5])}")
  try:
    of_open_clip = [patterns for patterns in found if patterns[0].startswith("open_clip")]
    if found[0] not in of_open_clip and of_open_clip and not _first_is_clip(hub_id):
      found = of_open_clip
    say(f"fetching {hub_id} from the hub: {found[0][0]}")
    return pathlib.Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_CONFIGS + found[0]))
  except GatedRepoError as error:
    raise hub_errors.gated(hub_id) from error
  except (HfHubHTTPError, HTTPError, OSError) as error:
    raise MissingFileError(
      f"the hub's {hub_id} cannot be downloaded ({first_line(error)[:_MAX_REASON]}); try again, or download it "
      f"elsewhere and give its folder"
    ) from error


def revision(folder):
  """Returns the commit of a folder that `fetch` returned, as the hub's cache names it, or ""."""
  is_snapshot = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
  return folder.name if is_snapshot else ""


def _first_is_clip(hub_id):
  """Whether the weights that config.json belongs to are a CLIP; in timm's repositories they are an image encoder."""
  folder = pathlib.Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_CONFIGS))
  return settings.is_clip_config(folder / "config.json")


def _cached(hub_id, error):
  try:
    folder = pathlib.Path(huggingface_hub.snapshot_download(hub_id, local_files_only=True))
    if not any((folder / mark).is_file() for mark, _ in _WEIGHTS):  # its tokenizer alone, or its config
      raise LocalEntryNotFoundError(f"the cached copy of {hub_id} holds no weights")
    _say_once(
      f"the hub cannot be reached ({type(error).__name__}); the cached copy of {hub_id} is used, revision "
      f"{revision(folder) or 'unknown'}"
    )
    return folder
  except (LocalEntryNotFoundError, OSError):
    raise MissingFileError(
      f"there is no folder {hub_id}, and the hub cannot be reached ({first_line(error)[:_MAX_REASON]}); "
      f"{hub_errors.wait_longer(error)}download the model elsewhere and give its folder"
    ) from error
