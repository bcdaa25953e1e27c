"""Adding a config field takes one line, which defines its default, check, documentation and value in a stage."""

import json

from tests.additions.copying import Copy

FIELD = """  patience: int = field(3, "epochs without improvement", at_least(1))
  use_prompts: bool"""
USE = """
import json
from tireid_jax.config import reference
from tireid_jax.configs import cuhk
from tireid_jax.training import stages

config = cuhk.get_config()
default = stages.from_config(config, 2).patience
config.stage2.patience = 0
try:
  stages.from_config(config, 2)
except ValueError as error:
  error_line = str(error)
(line,) = [line for line in reference.render().splitlines() if "patience" in line]
print(json.dumps([default, error_line, line]))
"""
OVERRIDE = """
import sys
from absl import flags
from tireid_jax.config import config_file

config_file.define_flag("config", None, "")
flags.FLAGS(sys.argv)
print(flags.FLAGS.config.stage2.patience)
"""


def test_a_field_is_added_in_one_place(tmp_path):
  copy = Copy(tmp_path)
  copy.edit("tireid_jax/config/stage.py", ("  use_prompts: bool", FIELD))
  assert copy.changed_files() == ["tireid_jax/config/stage.py"]
  assert json.loads(copy.python(USE)) == [
    3, "stage2.patience is 0; it must be at least 1", "| `stageN.patience` | `3` | epochs without improvement |",
  ]  # fmt: skip
  assert copy.python(OVERRIDE, "--config=cuhk", "--config.stage2.patience=7").strip() == "7"
