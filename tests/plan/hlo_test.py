"""Parsing HLO: the parts of an instruction, and how often it runs."""

import pathlib

import pytest

from tireid_jax.plan import hlo

TEXTS = pathlib.Path(__file__).parent.parent / "testdata" / "hlo"


def read(name):
  return hlo.Module((TEXTS / name).read_text())


def loop(*, begin="constant(0)", step="constant(1)", limit="constant(7)", compare="LT", config=""):
  """Returns a program of one loop with the changes counter and condition."""
  return hlo.Module(f"""HloModule loop

body {{
  state = (s32[], f32[2]{{0}}) parameter(0)
  round = s32[] get-tuple-element(state), index=0
  step = s32[] {step}
  ROOT next = (s32[], f32[2]{{0}}) tuple(grown, values)
  grown = s32[] add(round, step)
  values = f32[2]{{0}} get-tuple-element(state), index=1
}}

condition {{
  state.1 = (s32[], f32[2]{{0}}) parameter(0)
  limit = s32[] {limit}
  round.1 = s32[] get-tuple-element(state.1), index=0
  ROOT compare = pred[] compare(round.1, limit), direction={compare}
}}

ENTRY main {{
  begin = s32[] {begin}
  values.1 = f32[2]{{0}} parameter(0)
  copy = s32[] copy(begin)
  start = (s32[], f32[2]{{0}}) tuple(copy, values.1)
  ROOT while = (s32[], f32[2]{{0}}) while(start), condition=condition, body=body{config}
}}
""")


def test_an_instruction_is_parsed():
  entry = read("nested_loops_v5e.txt").computations["main.6_spmd"]
  fusion = entry["fusion.6"]
  assert (fusion.opcode, fusion.operands) == ("fusion", ("get-tuple-element.33", "all-gather.15"))
  assert hlo.dimensions(fusion.shape) == [128, 512]
  assert (fusion.cycles, fusion.source) == (2845, "jit(program)/dot_general")
  assert fusion.named("calls") == ["fused_computation.5"]
  tuple_ = entry["tuple.38"]
  assert len(tuple_.operands) == 6
  assert tuple_.operands[5] == "constant.3.clone.1"
  assert entry["copy-done"].cycles == 0


@pytest.mark.parametrize(
  ("shape", "size"),
  [
    ("f32[16,64]{1,0:T(8,128)S(1)}", 4096),
    ("bf16[3]{0:T(256)(128)(2,1)}", 6),
    ("pred[5]", 5),
    ("s4[8]", 4),
    ("f32[]", 4),
    ("f8e4m3fn[10]", 10),
    ("token[]", 0),
    ("(f32[2]{0}, (s32[], u8[3]), /*index=5*/bf16[0,7])", 15),
  ],
)
def test_bytes_of_a_shape(shape, size):
  assert hlo.num_bytes(shape) == size


@pytest.mark.parametrize("name", ["nested_loops_v5e.txt", "nested_loops_traced.txt"])
def test_a_nested_loop_runs_for_the_product_of_both_trip_counts(name):
  module = read(name)
  assert sorted(set(module.runs(into_fusions=False).values())) == [1, 3, 15]
  assert module.unknown_loops() == []


def test_computations_inside_a_fusion_are_counted_only_if_requested():
  module = read("nested_loops_v5e.txt")
  fused = "fused_computation.2.clone.1"
  assert module.runs(into_fusions=False)[fused] == 0
  assert module.runs(into_fusions=True)[fused] == 15


@pytest.mark.parametrize(
  ("changes", "trips"),
  [
    ({}, 7),
    ({"begin": "constant(1)"}, 6),
    ({"step": "constant(2)"}, 4),
    ({"begin": "constant(9)"}, 0),
    ({"config": ', backend_config={"known_trip_count":{"n":"12"}}'}, 12),
    ({"limit": "parameter(1)"}, None),
    ({"compare": "NE"}, None),
  ],
)
def test_trip_counts_of_loops(changes, trips):
  module = loop(**changes)
  assert module.trips("main", module.computations["main"]["while"]) == trips
  assert module.runs(into_fusions=False)["body"] == (1 if trips is None else trips)
  assert module.unknown_loops() == (["while"] if trips is None else [])


def test_each_branch_of_a_conditional_and_each_call_is_counted():
  module = hlo.Module("""HloModule choice

helper {
  ROOT x = f32[2]{0} parameter(0)
}

left {
  y = f32[2]{0} parameter(0)
  ROOT z = f32[2]{0} call(y), to_apply=helper
}

right {
  ROOT w = f32[2]{0} parameter(0)
}

ENTRY main {
  flag = pred[] parameter(0)
  a = f32[2]{0} parameter(1)
  b = f32[2]{0} call(a), to_apply=helper
  ROOT c = f32[2]{0} conditional(flag, b, b), branch_computations={left, right}
}
""")
  assert module.runs(into_fusions=False) == {"main": 1, "left": 1, "right": 1, "helper": 2}
