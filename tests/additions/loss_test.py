"""Adding a loss changes one file: its function, name and default weight."""

import json

from tests.additions.copying import Copy
from tests.commands import ROOT

LOSS = '''def cosine_loss(image, text):
  """Returns the mean cosine distance of the pairs."""
  return 1 - jnp.mean(jnp.sum(_normalise(image) * _normalise(text), axis=1))


LOSSES = {
  "cosine": Loss(lambda b: cosine_loss(b["image"], b["text"]), "mean cosine distance of the pairs", 0.5),
'''
# Two steps of stage 1 of a small config with only the new loss; the weights of the others are set to 0.
TRAIN = """
import json, sys
import jax
sys.path.append(sys.argv[1])  # for tests/; the copy has priority
from tests.small_training import Setup, make_batch, make_stage
from tireid_jax.config import reference, values
from tireid_jax.configs import cuhk
from tireid_jax.training import stages

config = cuhk.get_config()
weight = config.stage1.losses.cosine
stored = values.to_json(config)
del stored["stage1"]["losses"]["cosine"]  # as in an older workdir
stage = make_stage(1, losses={"itc": 0.0, "cosine": 2.0}, warmup_epochs=0.0, learning_rate=0.01)
setup = Setup(stage)
step, state, batch = jax.jit(setup.step), setup.state, make_batch()
found = []
for _ in range(2):
  state, metrics = step(state, batch)
  found.append({name: float(value) for name, value in metrics.items() if name.startswith("loss/")})
print(json.dumps({
  "weight": weight, "metrics": found, "documented": "stageN.losses.cosine" in reference.render(),
  "stored": values.from_json(stored).stage1.losses.cosine,
}))
"""


def test_a_loss_is_added_in_one_file_and_trains(tmp_path):
  copy = Copy(tmp_path)
  copy.edit("tireid_jax/losses.py", ("LOSSES = {\n", LOSS))
  assert copy.changed_files() == ["tireid_jax/losses.py"]
  found = json.loads(copy.python(TRAIN, ROOT))
  assert found["weight"] == 0.5
  assert found["stored"] == 0.0
  assert found["documented"]
  first, second = found["metrics"]
  assert set(first) == {"loss/total", "loss/cosine"}
  assert first["loss/total"] == 2 * first["loss/cosine"]
  assert second["loss/cosine"] < first["loss/cosine"]
