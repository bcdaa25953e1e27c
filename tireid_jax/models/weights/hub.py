"""Weights by their name on the Hugging Face hub: downloaded, or the cached copy where the hub cannot be reached."""

from tireid_jax.errors import MissingFileError
from tireid_jax.models.weights import settings
from tireid_jax.storage import hub
from tireid_jax.terminal.progress import log_line

_CONFIGS = ["config.json", "open_clip_config.json"]
# The first of these that a repository has is downloaded: (the file that shows it, all files that belong to it).
_WEIGHTS = (
  ("model.safetensors", ["model.safetensors"]),
  ("model.safetensors.index.json", ["model.safetensors.index.json", "model-*.safetensors"]),
  ("open_clip_model.safetensors", ["open_clip_model.safetensors"]),
  ("pytorch_model.bin", ["pytorch_model.bin"]),
  ("open_clip_pytorch_model.bin", ["open_clip_pytorch_model.bin"]),
  ("flax_model.msgpack", ["flax_model.msgpack"]),
)


def fetch(hub_id):
  """Returns (folder with the config and one file of weights, its commit or ""), downloaded unless it is cached.

  Raises:
    FileNotFoundError: if there is no such model, or no network and no cached copy.
    ValueError: if the model is gated, and this account has no access.
  """
  if not hub.is_hub_id(hub_id):
    raise MissingFileError(f"there is no file or folder {hub_id}; give one, or a hub id as ORGANISATION/NAME")
  try:
    files = hub.list_files(hub_id)
  except hub.NoRepositoryError as error:
    raise MissingFileError(f"there is no folder {hub_id}, and the hub has no model of that name") from error
  except hub.HubError as error:
    folder = _cached(hub_id, error)
    return folder, hub.revision(folder)
  found = [patterns for mark, patterns in _WEIGHTS if mark in files]
  if not found:
    raise MissingFileError(f"the hub's {hub_id} holds no weights that can be read here: {', '.join(files[:5])}")
  try:
    of_open_clip = [patterns for patterns in found if patterns[0].startswith("open_clip")]
    if found[0] not in of_open_clip and of_open_clip and not _first_is_clip(hub_id):
      found = of_open_clip
    log_line(f"fetching {hub_id} from the hub: {found[0][0]}")
    folder = hub.download(hub_id, _CONFIGS + found[0])
  except hub.HubError as error:
    raise MissingFileError(
      f"the hub's {hub_id} cannot be downloaded ({error.reason}); try again, or download it elsewhere and give its "
      f"folder"
    ) from error
  return folder, hub.revision(folder)


def _first_is_clip(hub_id):
  """Whether the weights that config.json belongs to are a CLIP; in timm's repositories they are an image encoder."""
  return settings.is_clip_config(hub.download(hub_id, _CONFIGS) / "config.json")


def _cached(hub_id, error):
  folder = hub.cached_copy(hub_id, _has_weights)
  if folder is None:
    raise MissingFileError(
      f"there is no folder {hub_id}, and the hub cannot be reached ({error.reason}); {error.advice}download the model "
      f"elsewhere and give its folder"
    ) from error
  hub.log_offline(hub_id, folder, error)
  return folder


def _has_weights(folder):
  """Returns False for a cached copy of the tokenizer or the config alone."""
  return any((folder / mark).is_file() for mark, _ in _WEIGHTS)
