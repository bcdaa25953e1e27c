"""Attention compiled by the TPU compiler, which does not need a TPU."""

import re

import jax

from tests.tpu.plan_test import compiled
from tireid_jax.models.attention import attend

BATCH_SIZE, LENGTH, HEADS, SIZE = 4, 197, 12, 64


def attention_and_gradients(query, key, value, d_mixed):
  mixed, backward = jax.vjp(lambda *qkv: attend(*qkv, False), query, key, value)
  return mixed, *backward(d_mixed)


def test_only_attention_exponentials_and_their_gradient_are_written_to_memory():
  module = compiled(attention_and_gradients, *[(BATCH_SIZE, LENGTH, HEADS, SIZE)] * 4)
  written = [
    dtype
    for computation in module.runs(into_fusions=False)
    for instruction in module.computations[computation].values()
    if instruction.opcode == "fusion"
    for dtype in re.findall(rf"(\w+)\[{BATCH_SIZE},{HEADS},{LENGTH},{LENGTH}\]", instruction.shape)
  ]
  assert written == ["bf16", "bf16"]
