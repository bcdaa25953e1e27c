"""Adding a data set of a new layout takes one file and its config. Here, annotations are nested by split and person."""

import json

import numpy as np

from tests.additions.copying import Copy
from tests.data import vocabularies
from tests.data.trees import write_image
from tests.models.trees import write_hf_clip
from tests.small_runs import VARIANT

DATA_SET = '''"""Street. Annotations are a JSON object {split: {person: {path: [caption, ...]}}}."""

from tireid_jax.data.raw.annotations import load_text, parse
from tireid_jax.data.raw.schema import Counts, Layout


def _read_entries(file):
  return [
    {"split": split, "id": int(person.removeprefix("p")), "file_path": path, "captions": captions}
    for split, persons in parse(load_text(file), file).items()
    for person, images in persons.items()
    for path, captions in images.items()
  ]


LAYOUTS = (
  Layout(
    name="street",
    config="configs/street.py",
    folder="Street-10",
    annotation_files=("persons.json",),
    image_folder="photographs",
    first_id=7,
    published={"train": Counts(4, 8, 16), "test": Counts(2, 4, 8)},
    read_entries=_read_entries,
  ),
)
'''
CONFIG = '''"""Street, the data set of a test."""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.data.name = "street"
  config.select_on = "last"
  return common.with_ablation(config, ablation)
'''
NUM_PERSONS = {"train": 4, "test": 2}


def write_raw_data(root):
  """Writes persons p7, p8, ... with two photographs each and two captions per photograph."""
  rng = np.random.default_rng(0)
  splits, number = {}, 7
  for split, num_persons in NUM_PERSONS.items():
    splits[split] = {}
    for _ in range(num_persons):
      paths = [f"{number}/{shot}.jpg" for shot in range(2)]
      splits[split][f"p{number}"] = {path: [f"person {number} in red.", "A coat."] for path in paths}
      for path in paths:
        write_image(root / "photographs" / path, rng)
      number += 1
  (root / "persons.json").write_text(json.dumps(splits))


def test_a_data_set_added_as_one_file_and_a_config_can_be_prepared_trained_and_evaluated(tmp_path):
  copy = Copy(tmp_path / "copy")
  (copy.folder / "tireid_jax/data/datasets/street.py").write_text(DATA_SET)
  (copy.folder / "configs/street.py").write_text(CONFIG)
  write_raw_data(tmp_path / "raw/Street-10")
  vocabularies.make_tokenizer(tmp_path / "words")
  write_hf_clip(tmp_path / "clip", VARIANT)
  flags = (
    "--config=street", f"--config.data_dir={tmp_path}/data", "--config.data.image_size=(24,8)",
    f"--config.data.tokenizer={tmp_path}/words", f"--config.pretrained={tmp_path}/clip",
    "--config.model.variant=from_weights", "--config.evaluation.batch_size=16",
  )  # fmt: skip
  printed = copy.command("data.prepare", *flags, f"--raw={tmp_path}/raw")
  assert "Street-10: 0 errors" in printed
  assert "differ from the published" not in printed
  stage = "--config.stage1."
  printed = copy.command(
    "main", *flags, "--stage=1", f"--workdir={tmp_path}/run", "--config.data.caption_lengths=(77,)",
    "--config.prompts.image_length=2", "--config.prompts.text_length=2", "--config.prompts.depth=1",
    f"{stage}batch_size=8", f"{stage}epochs=1", f"{stage}augment.pad=2", f"{stage}sampler.kind=images",
  )  # fmt: skip
  result = json.loads((tmp_path / "run/stage1/result.json").read_text())
  assert (result["dataset"], result["step"], result["num_gallery"]) == ("street", 2, 4)
  printed = copy.command("evaluate", f"--workdir={tmp_path}/run", "--stage=1")
  assert printed.startswith("street test, stage 1, step 2")
  assert f"{result['t2i']['R@1']:.2f}" in printed
  assert copy.changed_files() == ["configs/street.py", "tireid_jax/data/datasets/street.py"]
