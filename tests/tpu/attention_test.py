"""Attention as the TPU's own compiler makes it, which needs no TPU."""

import re

import jax

from tests.tpu.plan_test import compiled
from tireid_jax.models.attention import attend

ROWS, LENGTH, HEADS, SIZE = 4, 197, 12, 64


def attention_and_gradients(query, key, value, d_mixed):
  mixed, backward = jax.vjp(lambda *qkv: attend(*qkv, False), query, key, value)
  return mixed, *backward(d_mixed)


def test_no_scores_reach_memory_and_of_their_size_are_only_powers_and_their_gradient():
  module = compiled(attention_and_gradients, *[(ROWS, LENGTH, HEADS, SIZE)] * 4)
  made = [
    kind
    for computation in module.runs(into_fusions=False)
    for instruction in module.computations[computation].values()
    if instruction.opcode == "fusion"
    for kind in re.findall(rf"(\w+)\[{ROWS},{HEADS},{LENGTH},{LENGTH}\]", instruction.shape)
  ]
  assert made == ["bf16", "bf16"]
