"""Runs a command: a UserError exits with one line and status 2, any other error with a traceback and status 1."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from absl import flags, logging

from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.terminal.usage import format_usage

flags.DEFINE_bool("traceback", False, "show a traceback for bad input too")


def run(main: Callable[[list[str]], int | str | None], *, num_arguments: int = 0) -> NoReturn:
  """Parses the flags, calls `main(argv)` and exits with status 0, 2 for bad input, 130 or 143 if stopped by a signal.

  Args:
    main: called with [program, positional arguments]; what it returns is passed to `sys.exit`.
    num_arguments: maximum number of positional arguments.
  """
  # A character that the terminal cannot show is printed as an escape, so that printing never ends a job.
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")
  logging.use_absl_handler()
  logging.set_verbosity(logging.WARNING)
  if any(argument in ("--help", "-h") for argument in sys.argv[1:]):
    print(format_usage(main.__globals__["__doc__"], _own_flags()))
    sys.exit(0)
  try:
    arguments = _parse_flags()
    if len(arguments) - 1 > num_arguments:
      raise UserError(f"{arguments[num_arguments + 1]!r} is one argument too many; flags are --name=value")
    sys.exit(main(arguments))
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except UserError as error:
    _fail(error)


def _own_flags():
  """Returns the flags that this project defines, without those of imported libraries."""
  by_module = flags.FLAGS.flags_by_module_dict()
  return [
    flag
    for module, defined in by_module.items()
    if module == sys.argv[0] or module.startswith("tireid_jax.")
    for flag in defined
  ]


def _parse_flags():
  try:
    return flags.FLAGS(sys.argv)
  # Any error here is the user's: a misspelt field, a missing config file, a value that does not parse. ml_collections
  # raises a different type for each.
  except Exception as error:
    _fail(config_lib.explain_flag_error(error, sys.argv))


def _fail(error: Exception | str) -> NoReturn:
  """Prints an error and exits with status 2; called while the error is handled, for --traceback."""
  # If a flag is invalid, parsing may have stopped before this one.
  if flags.FLAGS["traceback"].value or "--traceback" in sys.argv:
    traceback.print_exc()
  message = " ".join(str(error).split())
  print(f"error: {message}", file=sys.stderr)
  sys.exit(2)
