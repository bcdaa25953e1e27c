"""The Hugging Face hub: what a repository holds, and copies of its files on this machine.

The hub's client reads HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. It waits HF_HUB_ETAG_TIMEOUT seconds for an answer and
HF_HUB_DOWNLOAD_TIMEOUT for the next part of a file (10 each).
"""

import contextlib
import functools
import pathlib
import re

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from tireid_jax.errors import UserError, first_line
from tireid_jax.terminal.progress import log_line

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Characters of the client's error in a message.
_MAX_REASON = 100

_log_once = functools.cache(log_line)


class HubError(Exception):
  """The hub did not answer, or did not send a file.

  Attributes:
    kind: name of the client's exception.
    reason: what the client reports, one line.
    advice: how to wait longer, to be read before another remedy; "" unless it was a time-out.
  """

  def __init__(self, error):
    self.kind = type(error).__name__
    self.reason = first_line(error)[:_MAX_REASON]
    self.advice = "wait longer by HF_HUB_ETAG_TIMEOUT=SECONDS, or " if "Timeout" in self.kind else ""
    super().__init__(self.reason)


class NoRepositoryError(HubError):
  """The hub has no repository of that name."""


def is_hub_id(name):
  """Returns whether a name is ORGANISATION/NAME, and not what can only be a path."""
  return _HUB_ID.fullmatch(name) is not None


def list_files(hub_id):
  """Returns the names of the files in a repository.

  Raises:
    HubError: if the hub does not answer, or has no such repository (NoRepositoryError).
    ValueError: if the repository is gated, and this account has no access.
  """
  with _client_errors(hub_id):
    info = huggingface_hub.HfApi().model_info(hub_id, timeout=constants.HF_HUB_ETAG_TIMEOUT)
  return [file.rfilename for file in info.siblings or []]


def download(hub_id, patterns):
  """Returns the folder of a repository's files that match the patterns; those that are cached are not sent again.

  Its first request has no time-out: call `list_files` before, whose request has one. Errors are the same.
  """
  with _client_errors(hub_id):
    return pathlib.Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=patterns))


def cached_copy(hub_id, is_complete, patterns=None):
  """Returns the folder of a repository's files on this machine, without asking the hub; None where there is none.

  Args:
    hub_id: of the repository.
    is_complete: (folder) -> whether it holds all that is needed.
    patterns: of the files that are needed; None for all.
  """
  with contextlib.suppress(OSError, ValueError):  # no such copy, or no such name
    folder = pathlib.Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=patterns, local_files_only=True))
    return folder if is_complete(folder) else None
  return None


def log_offline(hub_id, folder, error):
  """Logs, once, that a cached copy is used since the hub cannot be reached; `error` is the HubError."""
  _log_once(
    f"the hub cannot be reached ({error.kind}); the cached copy of {hub_id} is used, revision "
    f"{revision(folder) or 'unknown'}"
  )


def revision(folder):
  """Returns the commit of a repository's folder on this machine, or "" for any other folder."""
  is_snapshot = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
  return folder.name if is_snapshot else ""


@contextlib.contextmanager
def _client_errors(hub_id):
  try:
    yield
  except GatedRepoError as error:
    raise UserError(
      f"the hub's {hub_id} is gated: request access at {constants.ENDPOINT}/{hub_id}, then run hf auth login or set "
      f"HF_TOKEN"
    ) from error
  except (RepositoryNotFoundError, HFValidationError) as error:
    raise NoRepositoryError(error) from error
  except Exception as error:  # of the client, of its HTTP library or of the operating system
    raise HubError(error) from error
