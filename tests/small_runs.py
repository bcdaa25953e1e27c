"""Data, weights with a small vocabulary, and a config for runs of both stages that take seconds."""

from configs import rstp
from tests.data import vocabularies
from tests.data.trees import make_tree
from tests.models.trees import write_hf_clip
from tireid_jax.data.prepare import prepare
from tireid_jax.models.variants import Tower, Variant

SIZE = (24, 8)
NUM_IDS = len(vocabularies.BYTES) * 2 + len(vocabularies.FEW_MERGES) + len(vocabularies.SPECIALS)
VARIANT = Variant(
  Tower(64, 1, 1), Tower(64, 1, 1), patch_size=8, embedding_size=16, native_image_size=(16, 16),
  vocabulary_size=NUM_IDS, text_length=77, end_token=NUM_IDS - 1,
)  # fmt: skip
STEPS_PER_EPOCH = 3


def make_project(folder, num_datasets=1):
  """Writes data sets of equal sizes with different images to data0, data1, ..., and weights; returns the folder."""
  vocabularies.make_tokenizer(folder / "words")
  for seed in range(num_datasets):
    make_tree(folder / f"raw{seed}", "rstp_reid", num_ids={"train": 4, "val": 4, "test": 4}, seed=seed)
    prepare(
      "rstp_reid", folder / f"raw{seed}", folder / f"data{seed}", SIZE, tokenizer=str(folder / "words"),
      show_progress=False,
    )  # fmt: skip
  write_hf_clip(folder / "clip", VARIANT)
  return folder


def configured(project, data=0, **changes):
  """Returns a config for runs of a few steps.

  Args:
    project: the folder of `make_project`.
    data: number of the data set.
    **changes: values of fields, such as stage1__epochs for stage1.epochs.
  """
  config = rstp.get_config()
  config.data_dir, config.pretrained = str(project / f"data{data}"), str(project / "clip")
  config.data.update(image_size=SIZE, tokenizer=str(project / "words"), caption_lengths=(77,))
  config.model.variant, config.evaluation.batch_size = "from_weights", 16
  config.prompts.update(image_length=2, text_length=2, depth=1)
  for stage in (config.stage1, config.stage2):
    stage.batch_size, stage.warmup_epochs = 8, 0.0
    stage.augment.update(pad=2, erase_probability=0.0)
  for name, value in changes.items():
    section, _, field = name.rpartition("__")
    inner = config[section.replace("__", ".")] if section else config
    if isinstance(value, dict):
      inner[field].update(value)
    else:
      inner[field] = value
  return config
