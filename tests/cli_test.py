"""Bad input ends in one line and status 2, a fault of ours in its traceback and status 1."""

import errno
import sys

import pytest
from absl import flags

from tireid_jax import cli, errors


@pytest.fixture
def ended(monkeypatch, capsys):
  """Returns ended(action, *flags): the exit status and standard error of a command that does it."""

  def end(action, *given):
    monkeypatch.setattr(sys, "argv", ["command", *given])
    with pytest.raises(SystemExit) as exit_:
      cli.run(lambda _: action())
    return exit_.value.code, capsys.readouterr().err

  yield end
  flags.FLAGS["traceback"].value = False
  flags.FLAGS.unparse_flags()


def refuse():
  raise errors.UserError("too small;\n  make it larger")


def test_bad_input_is_one_line(ended):
  assert ended(refuse) == (2, "error: too small; make it larger\n")
  assert ended(lambda: None, "--tracebak=yes")[1].startswith("error: Unknown command line flag 'tracebak'")


def test_help_lists_the_flags_and_ends_with_status_0(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["command", "--no_such_flag", "--help"])
  with pytest.raises(SystemExit) as exit_:
    cli.run(refuse)
  assert exit_.value.code == 0
  output = capsys.readouterr().out
  assert output.startswith(sys.modules[__name__].__doc__)
  assert "--[no]traceback" in output
  assert "logtostderr" not in output  # absl's own


def test_bad_input_shows_its_traceback_where_that_is_requested(ended):
  status, message = ended(refuse, "--traceback")
  assert status == 2
  assert "in refuse\n" in message
  assert message.endswith("\nerror: too small; make it larger\n")


@pytest.mark.parametrize(
  "error", [ValueError("zip() argument 2"), FileNotFoundError("x"), FloatingPointError("x"), OSError(errno.EIO, "x")]
)
def test_a_fault_of_ours_is_no_bad_input(ended, error):
  def fail():
    raise error

  with pytest.raises(type(error)):
    ended(fail)


def test_divergence_is_one_line_and_a_floating_point_error():
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
def test_an_error_of_the_disk_names_the_path_and_what_to_do(number, message):
  with pytest.raises(errors.DiskError) as raised, errors.naming("w/log"):
    raise OSError(number, "in the system's words")
  assert str(raised.value) == message
  assert isinstance(raised.value, OSError)
  assert isinstance(raised.value.__cause__, OSError)


def test_an_error_of_another_path_names_both(tmp_path):
  with pytest.raises(errors.MissingFileError) as raised, errors.naming("w/log"):
    (tmp_path / "x").read_text()
  assert str(raised.value) == f"w/log: there is no such file or folder ({tmp_path}/x)"


def test_an_error_that_may_pass_keeps_its_type():
  with pytest.raises(OSError, match="stale") as raised, errors.naming("w/log"):
    raise OSError(errno.ESTALE, "stale")
  assert not isinstance(raised.value, errors.UserError)
