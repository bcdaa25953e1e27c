"""Initialization, exchange and agreement of several processes. `multihost_test.py` tests whole runs."""

import socket
import sys
import types

import pytest

from tests.commands import run
from tests.processes import Processes, free_port, multiprocess_commands
from tireid_jax.parallel import distributed

# Process 1 fails while process 0 waits for it.
FAILS_ALONE = """
import jax
from absl import flags
from tireid_jax import cli
from tireid_jax.parallel import distributed

def main(_):
  distributed.initialize(flags.FLAGS)
  distributed.run_on_all(lambda: None)
  if jax.process_index() == 1:
    raise RuntimeError("nobody else does")
  distributed.run_on_all(lambda: None)

distributed.define_flags()
with distributed.exiting_on_failure():
  cli.run(main)
"""


def options(*, multihost=False, coordinator="", num_processes=None, process_id=None):
  return types.SimpleNamespace(**locals())


def test_without_flags_a_process_is_the_only_one():
  distributed.initialize(options())
  assert distributed.is_first()
  assert distributed.in_any_process(True)
  assert distributed.run_on_all(lambda: 5) == 5


@pytest.mark.parametrize(
  ("flags", "expected"),
  [
    ({"num_processes": 2, "process_id": 0}, "or none; --coordinator is missing"),
    ({"coordinator": "h:1", "process_id": 0}, "or none; --num_processes is missing"),
    ({"coordinator": "h:1", "num_processes": 2, "multihost": True}, "or none; --process_id is missing"),
    ({"coordinator": "h", "num_processes": 2, "process_id": 0}, "--coordinator=h must be HOST:PORT, as 10.0.0.1:8476"),
    ({"coordinator": ":9", "num_processes": 2, "process_id": 0}, "--coordinator=:9 must be HOST:PORT"),
    ({"coordinator": "h:x", "num_processes": 2, "process_id": 0}, "--coordinator=h:x must be HOST:PORT"),
    ({"coordinator": "h:70000", "num_processes": 2, "process_id": 0}, "--coordinator=h:70000 must be HOST:PORT"),
    ({"coordinator": "h:1", "num_processes": 2, "process_id": 2}, "--process_id=2 of --num_processes=2: ids go from 0"),
    ({"coordinator": "h:1", "num_processes": 0, "process_id": 0}, "--process_id=0 of --num_processes=0"),
  ],
)
def test_inconsistent_flags_raise(flags, expected):
  with pytest.raises(ValueError) as error:
    distributed.initialize(options(**flags))
  assert expected in str(error.value)


def test_multihost_outside_a_tpu_pod_slurm_step_or_open_mpi_job_is_an_error(tmp_path):
  done = run("main", "--config=configs/rstp.py", f"--workdir={tmp_path}", "--multihost")
  assert done.returncode == 2
  (line,) = [line for line in done.stderr.splitlines() if line]
  assert line.startswith("error: --multihost finds no TPU pod, SLURM step or Open MPI job that this process belongs to")
  assert line.endswith("give --coordinator=HOST:PORT --num_processes=N --process_id=I")


def test_a_port_in_use_raises():
  with socket.create_server(("", 0)) as server:
    coordinator = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ValueError, match=f"--coordinator={coordinator}: process 0 cannot listen there"):
      distributed.initialize(options(coordinator=coordinator, num_processes=2, process_id=0))


def test_an_unreachable_coordinator_raises(monkeypatch):
  monkeypatch.setattr(distributed, "START_TIMEOUT_S", 0)
  coordinator = f"127.0.0.1:{free_port()}"
  with pytest.raises(ValueError, match=f"--coordinator={coordinator} does not answer .*; is process 0 running there"):
    distributed.initialize(options(coordinator=coordinator, num_processes=2, process_id=1))


def test_batches_are_sharded_over_processes_which_agree_on_errors_and_results():
  with Processes(multiprocess_commands([sys.executable, "-m", "tests.sharing"]), num_devices=4) as both:
    both.succeed()
    outputs = [both.output(process).splitlines() for process in range(2)]
  locked, waiting = (output.pop() for output in outputs)
  assert locked.startswith("held True UserError: --workdir=")
  assert " is in use by process PID on " in locked
  assert waiting == "held False UserError: process 0 failed; see its error message"
  common = [
    "(8, 1, 1) 8", "(1, 8, 1) 8", "(2, 2, 2) 8", "(1, 1, 8) 16", "scattered 8", "put_tree 0.25", "in_any False True",
    "check_same UserError: they differ",
  ]  # fmt: skip
  assert outputs == [
    [*common, "together done UserError: process 1 failed; see its error message", "by_first [0]"],
    [*common, "together done FileNotFoundError: there is no such file here", "by_first []"],
  ]


def test_a_failing_process_exits_at_once_and_ends_the_other():
  """Otherwise JAX would abort while one waits for the other to end, without showing the cause."""
  with Processes(multiprocess_commands([sys.executable, "-c", FAILS_ALONE])) as both:
    assert both.wait() == [1, 1]
    assert "RuntimeError: nobody else does" in both.errors(1)
