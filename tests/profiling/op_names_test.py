"""Short names of operations, as in the model's code."""

import pytest

from tireid_jax.profiling.op_names import short_source


@pytest.mark.parametrize(
  ("source", "short"),
  [
    (
      "jit(train_step)/transpose(jvp(CLIP))/CLIP.encode_text/text_encoder/transformer/while/body/closed_call/blocks/fc/dot",
      "backward text_encoder/transformer/blocks/fc/dot",
    ),
    ("jit(train_step)/jvp(vmap())/gather", "gather"),
    ("jit(train_step)/transpose(jvp(jit(log_softmax)))/reduce_sum", "backward log_softmax/reduce_sum"),
    ("jit(train_step)/jvp(NE,GE->NG)/dot_general", "NE,GE->NG/dot_general"),
    ("jit(f)/(transpose(jvp(CLIP))/blocks/ln_1/reduce_sum:jvp()/add)", "backward blocks/ln_1/reduce_sum"),
    ("jit(f)/blocks/while/body/eval_jaxpr/fc/tanh", "blocks/fc/tanh"),
    ("jit(<lambda>)/image_encoder/mul", "image_encoder/mul"),
    ("fusion.12", "fusion.12"),
    ("", ""),
  ],
)
def test_names_added_by_tracing_are_removed(source, short):
  assert short_source(source) == short
