"""Readable names for the operations of a compiled program."""

import re

# Components of an operation's path that come from tracing, not from the model; the last one since jax 0.12.
_TRACING = ("while", "body", "closed_call", "checkpoint", "eval_jaxpr")


def short_source(source: str) -> str:
  """Returns the path of an operation without the components that tracing adds.

  "jit(f)/transpose(jvp(CLIP))/CLIP.encode_text/text_encoder/while/body/blocks/fc/dot_general" becomes
  "backward text_encoder/blocks/fc/dot_general".
  """
  # For fused operations, keep the first.
  source = re.sub(r"^\((.*?):.*", r"\1", re.sub(r"^jit\([^()]*\)/", "", source))
  names = []
  for name in source.split("/"):
    while wrapped := re.fullmatch(r"(?:transpose|jvp|vmap|jit)\((.*)\)", name):
      name = wrapped[1]
    if name and name not in _TRACING and not name.startswith("CLIP"):
      names.append(name)
  return ("backward " if source.startswith("transpose(") else "") + "/".join(names)
