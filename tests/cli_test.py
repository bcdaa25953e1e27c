"""Bad input gives a one-line error and exit status 2, a bug of ours its traceback and exit status 1."""

import errno
import sys

import pytest
from absl import flags

from tireid_jax import cli, errors


@pytest.fixture
def run_command(monkeypatch, capsys):
  """Returns run_command(action, *flags), which returns the exit status and standard error of a command."""

  def run(action, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as exit_:
      cli.run(lambda _: action())
    return exit_.value.code, capsys.readouterr().err

  yield run
  flags.FLAGS["traceback"].value = False
  flags.FLAGS.unparse_flags()


def refuse():
  raise errors.UserError("too small;\n  make it larger")


def test_bad_input_is_reported_in_one_line(run_command):
  assert run_command(refuse) == (2, "error: too small; make it larger\n")
  assert run_command(lambda: None, "--tracebak=yes")[1].startswith("error: Unknown command line flag 'tracebak'")


def test_help_lists_the_flags_and_exits_with_status_0(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["command", "--no_such_flag", "--help"])
  with pytest.raises(SystemExit) as exit_:
    cli.run(refuse)
  assert exit_.value.code == 0
  output = capsys.readouterr().out
  assert output.startswith(sys.modules[__name__].__doc__)
  assert "--[no]traceback" in output
  assert "logtostderr" not in output  # a flag of absl


def test_bad_input_shows_its_traceback_if_requested(run_command):
  status, message = run_command(refuse, "--traceback")
  assert status == 2
  assert "in refuse\n" in message
  assert message.endswith("\nerror: too small; make it larger\n")


@pytest.mark.parametrize(
  "error", [ValueError("zip() argument 2"), FileNotFoundError("x"), FloatingPointError("x"), OSError(errno.EIO, "x")]
)
def test_other_exceptions_are_not_reported_as_bad_input(run_command, error):
  def fail():
    raise error

  with pytest.raises(type(error)):
    run_command(fail)


def test_a_divergence_error_is_a_user_error_and_a_floating_point_error():
  assert issubclass(errors.DivergedError, FloatingPointError)
  assert issubclass(errors.DivergedError, errors.UserError)


@pytest.mark.parametrize(
  ("number", "message"),
  [
    (errno.ENOSPC, "w/log: no space left on device; make room there, or choose another folder"),
    (errno.EROFS, "w/log: read-only file system; choose another folder"),
    (errno.EFBIG, "w/log: file too large; raise the limit of `ulimit -f`, or choose another folder"),
  ],
)
def test_a_disk_error_names_the_path_and_a_remedy(number, message):
  with pytest.raises(errors.DiskError) as raised, errors.naming("w/log"):
    raise OSError(number, "in the system's words")
  assert str(raised.value) == message
  assert isinstance(raised.value, OSError)
  assert isinstance(raised.value.__cause__, OSError)


def test_an_error_for_another_path_names_both_paths(tmp_path):
  with pytest.raises(errors.MissingFileError) as raised, errors.naming("w/log"):
    (tmp_path / "x").read_text()
  assert str(raised.value) == f"w/log: there is no such file or folder ({tmp_path}/x)"


def test_a_transient_error_keeps_its_type():
  with pytest.raises(OSError, match="stale") as raised, errors.naming("w/log"):
    raise OSError(errno.ESTALE, "stale")
  assert not isinstance(raised.value, errors.UserError)
