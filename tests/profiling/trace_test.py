"""Operations and their durations are read from the events of a trace."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from tireid_jax.profiling import trace

MS = 1e6
HOST, GPU = "/host:CPU", "/device:GPU:0"


def line(name, *events):
  """Returns a line of events (name, start in ms, end in ms, stats)."""
  return SimpleNamespace(
    name=name,
    events=[
      SimpleNamespace(name=event, start_ns=start * MS, duration_ns=(end - start) * MS, stats=stats.items())
      for event, start, end, stats in events
    ],
  )


def op(name, module=trace.PROGRAM, program=1):
  return {"hlo_op": name, "hlo_module": module, "program_id": program}


def operations_in(lines, programs=()):
  return [(o.source, o.runs, pytest.approx(1e3 * o.seconds)) for o in trace.operations(lines, programs)]


@pytest.mark.parametrize(
  ("spans", "expected"),
  [
    ([(0, 10), (10, 12)], [10, 2]),
    ([(2, 5), (0, 10), (6, 9), (3, 4)], [2, 4, 3, 1]),  # a loop of two operations, the first of which contains another
    ([(0, 10), (0, 4), (4, 10)], [0, 4, 6]),
    ([], []),
  ],
)
def test_the_self_time_of_an_operation_excludes_nested_operations(spans, expected):
  assert trace.self_times(spans) == expected


def test_on_a_cpu_only_operations_of_threads_are_counted():
  lines = [
    (HOST, line("thread 1", ("while.1", 0, 10, op("while.1")), ("dot.2", 1, 8, op("dot.2")), ("Execute", 0, 11, {}))),
    (HOST, line("thread 2", ("dot.2", 3, 5, op("dot.2")))),
    (HOST, line("python", ("train", 0, 12, {"step_num": 4}))),
    ("/host:metadata", line("", ("dot.2", 0, 9, op("dot.2")))),
  ]
  assert operations_in(lines) == [("dot.2", 2, 9), ("while.1", 1, 3)]
  assert trace.num_steps(lines) == 1


def test_on_a_gpu_only_kernels_and_copies_of_streams_are_counted():
  lines = [
    (GPU, line("Stream #13(Compute)", ("cutlass_gemm", 0, 6, op("gemm.1")), ("loop_fusion", 6, 7, op("fusion.2")))),
    (GPU, line("Stream #14(MemcpyH2D)", ("MemcpyH2D", 1, 4, {}))),
    (GPU, line("CUPTI overhead", ("Overhead", 0, 100, {}))),
    (HOST, line("thread", ("cuLaunchKernel", 0, 50, {}))),
  ]
  programs = [(trace.PROGRAM, {"gemm.1": "jit(train_step)/blocks/while/body/fc/dot_general"})]
  assert operations_in(lines, programs) == [("blocks/fc/dot_general", 1, 6), ("MemcpyH2D", 1, 3), ("fusion.2", 1, 1)]


def test_instructions_are_named_by_their_own_program():
  """Two programs have the same name, as for two caption lengths, and one has another name."""
  lines = [
    (HOST, line(
      "thread", ("a", 0, 1, op("fusion.1", program=1)), ("b", 1, 2, op("dot.7", program=1)),
      ("a", 2, 4, op("fusion.1", program=2)), ("b", 4, 8, op("dot.9", program=2)),
      ("a", 8, 16, op("fusion.1", "jit__lambda", program=3)),
    )),
  ]  # fmt: skip
  programs = [
    (trace.PROGRAM, {"fusion.1": "jit(train_step)/mul", "dot.7": "jit(train_step)/dot_general"}),
    (trace.PROGRAM, {"fusion.1": "jit(train_step)/tanh", "dot.9": "jit(train_step)/dot_general"}),
    ("jit__lambda", {"fusion.1": "jit(<lambda>)/add"}),
  ]
  assert operations_in(lines, programs) == [("lambda: add", 1, 8), ("dot_general", 2, 5), ("tanh", 1, 2), ("mul", 1, 1)]


def test_operations_of_a_real_trace_are_found_by_their_names_in_the_code(tmp_path):
  @jax.jit
  def train_step(x):
    with jax.named_scope("loss"):
      return jnp.sum(jnp.sin(x @ x))

  x = jnp.ones((256, 256))
  train_step(x).block_until_ready()
  with jax.profiler.trace(tmp_path, profiler_options=trace.options()):
    for _ in range(3):
      with jax.profiler.StepTraceAnnotation(trace.STEP, step_num=1):
        train_step(x).block_until_ready()
  lines = trace.lines(tmp_path)
  assert trace.num_steps(lines) == 3
  operations = trace.operations(lines, trace.compiled_programs())
  # The compiler may fuse them into one operation or keep them separate.
  assert {operation.source for operation in operations} <= {"loss/dot_general", "loss/sin", "loss/reduce_sum"}
  assert [operation.runs for operation in operations] == [3] * len(operations) != []
  assert all(operation.seconds > 0 for operation in operations)
