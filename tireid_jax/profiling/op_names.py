"""Names of a compiled program's operations that a reader of the model knows."""

import re

# Parts of an operation's path that tracing adds and that say nothing about the model; the last one since jax 0.12.
_TRACING = ("while", "body", "closed_call", "checkpoint", "eval_jaxpr")


def short_source(source):
  """Returns a place in the traced program without what tracing put around its names.

  "jit(f)/transpose(jvp(CLIP))/CLIP.encode_text/text_encoder/while/body/blocks/fc/dot_general" becomes
  "backward text_encoder/blocks/fc/dot_general".
  """
  # Where operations are merged, the first of them stands for all.
  source = re.sub(r"^\((.*?):.*", r"\1", re.sub(r"^jit\([^()]*\)/", "", source))
  names = []
  for name in source.split("/"):
    while wrapped := re.fullmatch(r"(?:transpose|jvp|vmap|jit)\((.*)\)", name):
      name = wrapped[1]
    if name and name not in _TRACING and not name.startswith("CLIP"):
      names.append(name)
  return ("backward " if source.startswith("transpose(") else "") + "/".join(names)
