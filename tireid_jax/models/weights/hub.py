"""Fetches weights from the Hugging Face hub, or from its local cache if the hub cannot be reached."""

import pathlib

from tireid_jax.errors import MissingFileError
from tireid_jax.models.weights import settings
from tireid_jax.storage import hub
from tireid_jax.terminal.progress import log_line

_CONFIGS = ["config.json", "open_clip_config.json"]
# The first of these formats that a repository has is downloaded: (file that identifies it, patterns of its files).
_WEIGHTS = (
  ("model.safetensors", ["model.safetensors"]),
  ("model.safetensors.index.json", ["model.safetensors.index.json", "model-*.safetensors"]),
  ("open_clip_model.safetensors", ["open_clip_model.safetensors"]),
  ("pytorch_model.bin", ["pytorch_model.bin"]),
  ("open_clip_pytorch_model.bin", ["open_clip_pytorch_model.bin"]),
  ("flax_model.msgpack", ["flax_model.msgpack"]),
)


def fetch(hub_id: str) -> tuple[pathlib.Path, str]:
  """Returns (folder with the config and weights in one format, commit or ""), downloaded unless cached.

  Raises:
    MissingFileError: if there is no such model, or no network and no cached copy.
    UserError: if the model is gated and this account has no access.
  """
  if not hub.is_hub_id(hub_id):
    raise MissingFileError(f"there is no file or folder {hub_id}; give an existing one, or a hub id ORGANISATION/NAME")
  try:
    files = hub.list_files(hub_id)
  except hub.NoRepositoryError as error:
    raise MissingFileError(f"there is no folder {hub_id}, and the hub has no model of that name") from error
  except hub.HubError as error:
    folder = _cached(hub_id, error)
    return folder, hub.revision(folder)
  found = [patterns for name, patterns in _WEIGHTS if name in files]
  if not found:
    raise MissingFileError(f"{hub_id} on the hub has no weights in a supported format, only {', '.join(files[:5])}")
  try:
    of_open_clip = [patterns for patterns in found if patterns[0].startswith("open_clip")]
    if found[0] not in of_open_clip and of_open_clip and not _first_is_clip(hub_id):
      found = of_open_clip
    log_line(f"fetching {hub_id} from the hub: {found[0][0]}")
    folder = hub.download(hub_id, _CONFIGS + found[0])
  except hub.HubError as error:
    raise MissingFileError(
      f"{hub_id} cannot be downloaded from the hub ({error.reason}); try again, or download it on another machine "
      f"and give its folder"
    ) from error
  return folder, hub.revision(folder)


def _first_is_clip(hub_id: str) -> bool:
  """Returns whether config.json describes a CLIP; in timm's repositories it describes an image encoder."""
  return settings.is_clip_config(hub.download(hub_id, _CONFIGS) / "config.json")


def _cached(hub_id: str, error: hub.HubError) -> pathlib.Path:
  folder = hub.cached_copy(hub_id, _has_weights)
  if folder is None:
    raise MissingFileError(
      f"there is no folder {hub_id}, and the hub cannot be reached ({error.reason}); {error.advice}download the model "
      f"on another machine and give its folder"
    ) from error
  hub.log_offline(hub_id, folder, error)
  return folder


def _has_weights(folder: pathlib.Path) -> bool:
  """Returns False for a cached copy of only the tokenizer or the config."""
  return any((folder / name).is_file() for name, _ in _WEIGHTS)
