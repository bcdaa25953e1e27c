"""What `--help` prints: a command's description and its flags."""

import textwrap

from ml_collections import ConfigDict

_WIDTH = 100


def format_usage(description, defined):
  """Returns the text of `--help`.

  Args:
    description: the docstring of the command's module.
    defined: absl flags of the command, in any order.
  """
  lines = [(description or "").strip(), "", "flags:"]
  for flag in sorted(defined, key=lambda flag: flag.name):
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}=VALUE"
    text = f"{flag.help}{_default(flag)}"
    lines += [f"  {name}", *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]
  return "\n".join(lines)


def _default(flag):
  """Returns the default in parentheses, or "": not of a config flag, whose default is a config of 100 fields."""
  value = flag.default
  if value in (None, "", False, []) or isinstance(value, ConfigDict):
    return ""
  return f" (default: {','.join(map(str, value)) if isinstance(value, list) else value})"
