"""Adding an optimizer changes one file: its builder, name and settings."""

import json

from tests.additions.copying import Copy
from tests.commands import ROOT

BUILDER = '''def _sgd(recipe: "Recipe", decay: float, rate: Schedule) -> optax.GradientTransformation:
  """Stochastic gradient descent with momentum and coupled decay."""
  return optax.chain(
    optax.add_decayed_weights(decay), optax.trace(recipe.sgd_momentum), optax.scale_by_learning_rate(rate)
  )


# Name of'''
ROW = '"adamw": _adamw, "sgd": _sgd}'
SETTING = """  sgd_momentum: float = field(0.9, "of sgd", must("in [0, 1)", lambda momentum: 0 <= momentum < 1))
  weight_decay"""
# Two steps with the same gradient g, without decay, at rate 0.1: -0.1 g, then -0.1 (1 + momentum) g.
TRAIN = """
import json, sys
import jax.numpy as jnp
sys.path.append(sys.argv[1])  # for tests/; the copy has priority
from tests.small_training import make_stage
from tireid_jax.config import values
from tireid_jax.configs import cuhk
from tireid_jax.training import optimizers

stored = values.to_json(cuhk.get_config())
del stored["stage1"]["sgd_momentum"]  # as in an older workdir
stage = make_stage(
  1, optimizer="sgd", sgd_momentum=0.5, learning_rate=0.1, weight_decay=0.0, warmup_epochs=0.0, epochs=10**6
)
optimizer = optimizers.make_optimizer(stage, {"leaf": "prompts"}, steps_per_epoch=10)
leaf, gradient = {"leaf": jnp.float32(1.0)}, {"leaf": jnp.float32(2.0)}
state, moves = optimizer.init(leaf), []
for _ in range(2):
  updates, state = optimizer.update(gradient, state, leaf)
  moves.append(float(updates["leaf"]))
try:
  make_stage(1, sgd_momentum=1.0)
except ValueError as error:
  error_line = str(error)
print(json.dumps({
  "moves": moves, "default": cuhk.get_config().stage2.sgd_momentum, "error_line": error_line,
  "stored": values.from_json(stored).stage1.sgd_momentum,
}))
"""


def test_an_optimizer_with_a_new_setting_is_added_in_one_file(tmp_path):
  copy = Copy(tmp_path)
  copy.edit(
    "tireid_jax/training/optimizers.py",
    ("# Name of", BUILDER), ('"adamw": _adamw}', ROW), ("  weight_decay", SETTING),
  )  # fmt: skip
  assert copy.changed_files() == ["tireid_jax/training/optimizers.py"]
  found = json.loads(copy.python(TRAIN, ROOT))
  assert [round(move, 4) for move in found["moves"]] == [-0.2, -0.3]
  assert found["default"] == found["stored"] == 0.9
  assert found["error_line"] == "stage1.sgd_momentum is 1.0; it must be in [0, 1)"
