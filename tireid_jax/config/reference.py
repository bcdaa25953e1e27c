"""Prints the reference of all config fields, from their declarations: what docs/config.md holds.

python -m tireid_jax.config.reference > docs/config.md
"""

from tireid_jax import fields
from tireid_jax.config import schema

_HEAD = """# Config fields

Any field is set on the command line as `--config.FIELD=VALUE`. `configs/common.py` overrides some of these
defaults in the stages and in `prompts`, and the config of a data set may override more.

This page is written by `python -m tireid_jax.config.reference`; the fields are declared in `tireid_jax/config/` and in
the modules that it imports them from.
"""


def render() -> str:
  """Returns the reference in Markdown: a table of field, default and description."""
  lines = [_HEAD, "| field | default | |", "|---|---|---|"]
  for name, default, description in [
    *fields.describe(schema.Run),
    *fields.describe(schema.StageFields, "stageN."),
  ]:
    lines.append(f"| `{name}` | `{default!r}` | {description} |")
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  print(render(), end="")
