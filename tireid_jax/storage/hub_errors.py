"""What to do where the Hugging Face hub lets nobody in, or is slow; for messages."""

from huggingface_hub import constants

from tireid_jax.errors import UserError


def gated(hub_id):
  """Returns the UserError that says how to be let in to a gated repository."""
  return UserError(
    f"the hub's {hub_id} is gated: ask for access at {constants.ENDPOINT}/{hub_id}, then run hf auth login or set "
    f"HF_TOKEN"
  )


def wait_longer(error):
  """Returns how to wait longer for the hub, to be read before another remedy; "" for an error that is no time-out."""
  return "wait longer by HF_HUB_ETAG_TIMEOUT=SECONDS, or " if "Timeout" in type(error).__name__ else ""
