"""The tables of `benchmarks/gpu`, and how it reads profiles."""

import pathlib

import numpy as np

from benchmarks import step as step_benchmark
from benchmarks.gpu import cases, correct, plan, profiling, results, speed, table
from tests.commands import ROOT


def make_results(**kept):
  """Returns Results with these rows."""
  return results.Results(pathlib.Path(), "now", {}, kept)


def test_results_that_were_not_measured_are_shown_as_not_run():
  text = table.tables(results.Results(pathlib.Path(), ""))
  assert "not run yet" in text
  assert "| ViT-B/16, stage 2, batch 64, strongest | not run yet | not run yet | not run yet | 1.3 |" in text


def test_ratios_are_computed_only_within_one_run():
  ours = {"status": "done", "run": "now", "pairs_per_s": 3000.0, "memory_gib": 6.0, "step_ms": 1.0}
  theirs = {"status": "done", "run": "now", "pairs_per_s": 2000.0, "memory_gib": 9.0}
  keys = f"speed/{plan.BASE}", f"peer/{plan.BASE}, strongest"
  one_run = make_results(**dict(zip(keys, (ours, theirs), strict=True)))
  assert "| 2,000 | 3,000 | 1.50 | 1.3 | 9.00 | 6.00 | 1.50 |" in table.ratios(one_run)
  other = make_results(**dict(zip(keys, (ours, {**theirs, "run": "before"}), strict=True)))
  assert "| 2,000 | 3,000 | not run yet | 1.3 |" in table.ratios(other)


def test_a_default_that_is_not_the_fastest_is_reported():
  base, xla = f"speed/{plan.BASE}", f"speed/{plan.BASE}, attention=xla"
  kept = {base: {"status": "done", "step_ms": 30.0}, xla: {"status": "done", "step_ms": 29.0}}
  assert "is NOT the fastest of those measured: 30.00 ms, the best other 29.00 ms (attention=xla)" in table.fastest(
    make_results(**kept)
  )


def test_only_the_text_between_the_markers_of_the_document_is_replaced(tmp_path):
  document = tmp_path / "gpu.md"
  document.write_text(f"before\n{table.BEGIN}\nof another run\n{table.END}\nafter\n")
  assert table.main(["--into", str(document)]) == 0
  text = document.read_text()
  assert text.startswith(f"before\n{table.BEGIN}\n")
  assert text.endswith(f"{table.END}\nafter\n")
  assert "of another run" not in text
  document.write_text("no markers")
  assert table.main(["--into", str(document)]) == 2


def test_the_tables_in_the_document_match_its_results():
  document = (ROOT / "docs/gpu.md").read_text()
  kept = ROOT / "docs/gpu.json"
  stored = results.read(kept) if kept.is_file() else results.Results(pathlib.Path(), "")
  assert table.tables(stored) in document


HLO = """HloModule jit_step

%fused (p: bf16[8,8]) -> bf16[8,8] {
  %p = bf16[8,8]{1,0} parameter(0)
  ROOT %inner = bf16[8,8]{1,0} dot(%p, %p), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: bf16[8,8]) -> bf16[8,8] {
  %a = bf16[8,8]{1,0} parameter(0)
  %gemm_fusion = bf16[8,8]{1,0} fusion(%a), kind=kCustom, calls=%fused, metadata={op_name="jit(step)/fc/dot_general"}
  %cublas.1 = (bf16[8,8]{1,0}, s8[9]{0}) custom-call(%a), custom_call_target="__cublas$gemm"
  %fmha = bf16[8,8]{1,0} custom-call(%a), custom_call_target="__cudnn$fmhaSoftmaxBackward"
  %copy.2 = bf16[8,8]{0,1} copy(%a)
  ROOT %add.3 = bf16[8,8]{1,0} add(%a, %gemm_fusion)
}
"""


def test_kernels_are_classified_by_the_targets_of_their_instructions():
  kinds = {name: kind for name, (kind, _) in profiling.instructions(HLO).items()}
  assert kinds["gemm_fusion"] == kinds["cublas.1"] == "matrix products"
  assert (kinds["fmha"], kinds["copy.2"], kinds["add.3"]) == ("attention", "copies", profiling.REST)
  assert profiling.instructions(HLO)["gemm_fusion"][1] == "fc/dot_general"


def test_kernels_of_a_cuda_graph_are_classified_by_their_own_names():
  names = ("add_3", "nvjet_tst_128x256", "cudnn_generated_fort_native_sdpa_sm90_flash_bprop", "MemcpyD2D")
  events = [(name, 100 * at, 100 * at + 25, "a") for at, name in enumerate(names)]
  row = profiling.summary(events, profiling.instructions(HLO))
  assert row["fractions"] == dict.fromkeys((profiling.REST, "matrix products", "attention", "copies"), 0.25)
  assert row["operations"][0]["operation"] == f"{profiling.REST}: add.3"


def test_the_idle_fraction_of_a_profile_is_counted():
  events = [("fmha", 0, 60, "a"), ("add.3", 40, 80, "b"), ("add.3", 180, 200, "a")]
  row = profiling.summary(events, profiling.instructions(HLO))
  assert row["idle_fraction"] == 0.5
  assert row["fractions"] == {"attention": 0.5, profiling.REST: 0.5}


def test_a_nan_difference_is_not_ok():
  assert correct.worst({"a": 1.0, "b": float("nan")}) == (np.inf, "b")
  assert not correct.compared(correct.worst({"b": float("nan")})[0], 1.0, "")["ok"]


def test_model_flops_count_every_block_at_every_token_once_forward_and_twice_backward():
  args = cases.step_settings(batch_size=8, remat="full")
  _, flops = speed.model_flops(args, "tiny")

  def encoder(length, width, num_blocks):
    return num_blocks * (2 * length * 12 * width**2 + 2 * 2 * length**2 * width)

  size, num_patches = 64, 6 * 3
  blocks = encoder(1 + num_patches, 128, 4) + encoder(77, 64, 3)
  patches = 2 * num_patches * 768 * 128  # whose inputs do not need a gradient
  heads = 2 * (128 + 64) * size + 2 * 2 * size * step_benchmark.NUM_IDENTITIES
  similarities = 2 * 8 * size
  np.testing.assert_allclose(flops, 8 * (3 * (blocks + heads + similarities) + 2 * patches), rtol=1e-3)
