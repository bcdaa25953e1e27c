"""Writes the model card of toy_clip, tireid_jax/models/packaged/toy_clip/README.md, from measurements.

  python -m benchmarks.model_card --workdir=W [--pool=DIR]

W is the workdir of `tireid_jax.pretrain` that the packaged weights were exported from. The packaged weights are scored
on the pool's held-out test pictures, and on persons of ToyPEDES that are generated for it.
"""

import hashlib
import pathlib
import tempfile

import jinja2
import numpy as np
from absl import flags
from safetensors.numpy import load_file

from tireid_jax import cli
from tireid_jax.config import values as config_lib
from tireid_jax.configs import toy_clip
from tireid_jax.data import prepare, tokenizer
from tireid_jax.data.prepared import splits
from tireid_jax.data.toy import pool, write
from tireid_jax.data.toy.pool import splits as pool_splits
from tireid_jax.data.toy.pool.styles import STYLES
from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding, fixed_gallery
from tireid_jax.exporting import encoders
from tireid_jax.models.weights import packaged
from tireid_jax.storage import files
from tireid_jax.training import loading
from tireid_jax.workdir import layout, metric_log

NAME, WEIGHTS_FILE = "toy_clip", "model.safetensors"
TEMPLATE = pathlib.Path(__file__).with_suffix(".md")
METRICS = ("R@1", "R@5", "R@10", "mAP")
NUM_CAPTIONS = 20_000
# Persons of ToyPEDES, ranked in galleries as the study ranks them.
NUM_PERSONS, GALLERY_PERSONS = 1_000, 100
# Fields of a run that do not change its result, or only name folders.
_FREE = (*config_lib.FREE_FIELDS, "pool/folder")


def main(_):
  options = flags.FLAGS
  weights = packaged.find(NAME)
  step = step_of(weights, options.workdir)
  config = layout.read_config(options.workdir)
  opened = pool.open_pool(options.pool or pathlib.Path(options.workdir) / "pool")
  config.pretrained = str(weights)
  loaded = loading.load_stage(None, "pretrained", config=config)
  held_out = pool_splits.open_held_out(opened, "test", config.pool.num_held_out)
  with tempfile.TemporaryDirectory() as folder:
    persons = draw_persons(pathlib.Path(folder), config.data.image_size)
    results = {
      "held-out pictures of the pool, test": score(loaded, held_out, config.pool.num_held_out),
      f"{NUM_PERSONS:,} persons of ToyPEDES in galleries of {GALLERY_PERSONS}, zero-shot (chance: R@1 "
      f"{100 / GALLERY_PERSONS:.1f})": score(loaded, persons, GALLERY_PERSONS),
    }
  sampled = [opened.caption(index, 0) for index in range(min(NUM_CAPTIONS, len(opened)))]
  card = jinja2.Template(TEMPLATE.read_text(), trim_blocks=True, undefined=jinja2.StrictUndefined).render(
    **describe_weights(weights, loaded.model),
    **describe_run(options.workdir, config, step),
    results=[(name, [found[metric] for metric in METRICS]) for name, found in results.items()],
    num_tokens=len(np.unique(tokenizer.tokenize(sampled))), num_styles=len(STYLES),
    num_captions=len(persons.captions),
    unknown=", ".join(pool.words_never_used(persons.captions, num=NUM_CAPTIONS)) or "none",
  )  # fmt: skip
  files.write_text(weights / "README.md", "\n".join(map(str.rstrip, card.rstrip().splitlines())) + "\n")
  print(card)


def step_of(folder, workdir):
  """Returns the step of the best checkpoint of a workdir's stage 0; raises UserError if its weights are others."""
  found, trained = load_file(folder / WEIGHTS_FILE), loading.load_stage(workdir, "0")
  expected, _ = encoders.to_tensors(trained.model, trained.variables, str(found["logit_scale"].dtype))
  if found.keys() != expected.keys() or not all(np.array_equal(found[name], expected[name]) for name in found):
    raise UserError(f"{folder} does not hold the weights of {workdir} at step {trained.step}; export them there first")
  return trained.step


def describe_weights(folder, model):
  """Returns what the card says about the file of weights."""
  file = folder / WEIGHTS_FILE
  tensors = load_file(file)
  (dtype,) = {str(tensor.dtype) for tensor in tensors.values()}
  height, width = model.image_size
  variant = model.variant
  return {
    "image": variant.image, "text": variant.text, "patch": variant.patch_size, "embedding": variant.embedding_size,
    "text_length": variant.text_length, "height": height, "width": width, "dtype": dtype,
    "num_weights": sum(tensor.size for tensor in tensors.values()), "num_bytes": file.stat().st_size,
    "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
  }  # fmt: skip


def describe_run(workdir, config, step):
  """Returns what the card says about pre-training up to a step."""
  stage, folder = config.stage0, layout.stage_folder(workdir, 0)
  if stage.init_from != "random":
    raise UserError(f"{workdir} continues another run, {stage.init_from}, whose pictures are not counted here")
  num_train = config.pool.num - 2 * config.pool.num_held_out
  steps_per_epoch = config.pool.epoch_size // stage.batch_size
  first_of_cosine = (stage.warmup_epochs + stage.stable_epochs) * steps_per_epoch
  return {
    "pictures": step * stage.batch_size, "num_train": num_train, "passes": step * stage.batch_size / num_train,
    "batch_size": stage.batch_size, "num_held_out": config.pool.num_held_out,
    "cosine": max(0, round((step - first_of_cosine) * stage.batch_size)),
    "curve": doublings(metric_log.read_metrics(folder), stage.batch_size, step),
    "augmentation": describe_augmentation(stage.augment),
    "flags": "".join(f" \\\n  {flag}" for flag in changed_fields(config, toy_clip.get_config())),
  }  # fmt: skip


def doublings(records, batch_size, last_step):
  """Returns [(pictures seen, R@1)] of validation: the last one and those at a half of it, a quarter, and so on.

  Args:
    records: of `metric_log.read_metrics`.
    batch_size: pictures of a step.
    last_step: at which the weights were taken.
  """
  scores = {record["step"]: record["val/t2i/R@1"] for record in records if "val/t2i/R@1" in record}
  wanted, found = float(last_step), []
  while wanted >= min(scores):
    nearest = min(scores, key=lambda step: abs(step - wanted))
    found.append((nearest * batch_size, scores[nearest]))
    wanted /= 2
  return found[::-1]


def describe_augmentation(augment):
  """Returns a phrase for the fields of an augmentation that change pictures."""
  shift = f"shifts by up to {augment.pad} pixels" if augment.pad else ""
  active = {name: augment[name] for name in augment if name.endswith("probability") and name != "jitter_probability"}
  active |= {name: augment[name] for name in ("flip", "rotation", "brightness", "contrast", "saturation", "hue")}
  others = [f"{name} {value:g}" for name, value in active.items() if value]
  return ", ".join(filter(None, [shift, *others])) or "none"


def changed_fields(config, defaults):
  """Returns the flags that give a config, from the config file that it was made of."""
  lines, found, usual = [], flatten(config_lib.to_json(config)), flatten(config_lib.to_json(defaults))
  for field in sorted(found.keys() & usual.keys()):
    if found[field] != usual[field] and field not in _FREE and field not in ("pretrained", "data_dir"):
      lines.append(f"--config.{field.replace('/', '.')}={found[field]}")
  return lines


def flatten(data, prefix=""):
  """Returns {"section/field": value} of nested dictionaries."""
  flat = {}
  for name, value in data.items():
    flat |= flatten(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
  return flat


def draw_persons(folder, image_size):
  """Returns a test split of ToyPEDES, generated below a folder and held in memory."""
  write.write_pedes(folder / "raw", seed=3, num_train_ids=1, num_val_ids=0, num_test_ids=NUM_PERSONS, images_per_id=4)
  prepare.prepare("toy_pedes", folder / "raw", folder / "data", image_size)
  return splits.open_split(folder / "data", "toy_pedes", image_size, "test")


def score(loaded, split, num_persons):
  """Returns {metric: percent} of text to image, each caption ranked in a gallery of that many identities."""
  both = embedding.Encoders(loaded.model, loaded.mesh, loaded.config.evaluation.batch_size)
  image, text = both.encode(loaded.variables, split, loaded.config.data.caption_lengths, show_progress=True)
  identities = split.person_id[split.caption_image]
  return fixed_gallery.query_scores(text, image, identities, split.person_id, num_persons).summary()


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "workdir of the pre-training", required=True)
  flags.DEFINE_string("pool", "", "its pool of pictures; pool/ in the workdir by default")
  cli.run(main)
