"""What `--help` prints: a command's description and its flags."""

import textwrap

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
    text = f"{flag.help}{_default(flag.default)}"
    lines += [f"  {name}", *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]
  return "\n".join(lines)


def _default(value):
  if value in (None, "", False, []):
    return ""
  return f" (default: {','.join(map(str, value)) if isinstance(value, list) else value})"
