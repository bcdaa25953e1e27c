"""Runs the whole method on synthetic persons, from toy_clip: data generation, preparation, both stages, and a baseline.

It shows that everything works. Whether the two stages pay is the question of docs/study.md.

python -m tireid_jax.demo --to=demo
python -m tireid_jax.demo --to=demo --seeds=0,1,2
"""

import copy
import resource
import time

import numpy as np
from absl import flags

from tireid_jax import cli
from tireid_jax.config import config_file
from tireid_jax.config import values as config_lib
from tireid_jax.data import prepare
from tireid_jax.data.prepared import splits
from tireid_jax.data.toy import oracle, write
from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding, ranked_examples
from tireid_jax.parallel import distributed
from tireid_jax.report import analysis
from tireid_jax.reporting import run_report
from tireid_jax.storage import compilation_cache, files, locations, lock
from tireid_jax.terminal.table import format_table, mean_and_std
from tireid_jax.training import loading, loop
from tireid_jax.workdir import metric_log

TABLE_FILE, REPORT_FILE, PICTURE_FILE = "demo.json", "report.html", "ranked.png"
COMPILED_FOLDER = "compiled"

ZERO_SHOT, STAGE_1, STAGE_2 = "zero-shot", "after stage 1", "after stage 2"
DIRECT = "direct fine-tuning, steps of both stages"

# (result, baseline, minimum gain in R@1, percentage points), and the minimum ratio of zero-shot R@1 to chance.
THRESHOLDS = ((STAGE_1, ZERO_SHOT, 3.0), (STAGE_2, STAGE_1, 5.0))
ZERO_SHOT_OVER_CHANCE = 3.0

_STUDY = "One seed on synthetic persons says nothing about which method is better; docs/study.md tests that."
_NOTES = (
  "All persons, scenes and captions are synthetic; there are no photographs. The model is toy_clip, a small CLIP that "
  "was pre-trained on another synthetic domain: objects, places and people in other drawing styles.",
  "Stage 1 trains only the prompts, stage 2 only the encoders. Direct fine-tuning uses the data and losses of stage 2 "
  "without prompts. Checkpoints are selected on the validation split; these results are on the test split.",
  _STUDY,
)


def main(_: list[str]) -> int:
  options = flags.FLAGS
  if not options.to:
    raise UserError("give --to=DIR, the folder for all output of the demo")
  seeds = config_lib.seeds(options.seeds)
  config_file.print_sources()
  folder = locations.local_path(options.to, "--to")
  with lock.holding(folder, f"--to={options.to}", "give another --to"):
    return _run(options.config, folder, seeds)


def _run(config, folder, seeds):
  """Runs the demo and returns the exit status."""
  began = time.monotonic()
  distributed.check_backend()
  compilation_cache.enable_persistent_cache(folder / COMPILED_FOLDER)  # most runs have the same encoders
  raw = _prepare_data(config, folder)
  by_seed = {seed: _run_seed(config, folder, seed) for seed in seeds}
  rows = _table(list(by_seed.values()))
  chance = _chance(config)
  missed = [line for seed, row in by_seed.items() for line in _missed_thresholds(seed, row, chance)]
  ceilings = _ceilings(raw / write.PEDES_FOLDER)
  files.write_json(
    folder / TABLE_FILE, {"chance_r1": chance, "seeds": by_seed, "table": rows, "missed": missed, "ceilings": ceilings}
  )
  _write_report(config, folder, seeds[0], rows, ceilings)
  print(format_table(rows))
  print(f"chance: R@1 {chance:.2f}")
  print("thresholds: " + ("; ".join(missed) if missed else "all reached"))
  print(_STUDY)
  peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(f"{time.monotonic() - began:.0f} s, at most {peak_gib:.1f} GiB of memory; report: {folder / REPORT_FILE}")
  return 1 if missed else 0


def _prepare_data(config, folder):
  """Writes and prepares ToyPEDES and returns the raw folder."""
  config.data_dir = str(folder / "data")
  raw = folder / "raw"
  sizes = {f"num_{split}_ids": config.toy[f"num_{split}_ids"] for split in ("train", "val", "test")}
  write.write_pedes(raw, seed=config.toy.seed, images_per_id=config.toy.images_per_id, **sizes)
  prepare.prepare(config.data.name, raw, config.data_dir, config.data.image_size, tokenizer=config.data.tokenizer)
  return raw


def _run_seed(config, folder, seed):
  """Returns {name in the table: result} of one seed."""
  config = copy.deepcopy(config)
  config.seed = seed
  seed_folder = folder / f"seed{seed}"
  results = loop.run(config, (1, 2), seed_folder / "two_stages")
  direct = copy.deepcopy(config)
  direct.prompts.image_length = direct.prompts.text_length = 0
  direct.stage2.init_from = "pretrained"
  direct.stage2.epochs += config.stage1.epochs * config.stage2.batch_size // config.stage1.batch_size
  return {
    ZERO_SHOT: _zero_shot(config, seed_folder),
    STAGE_1: results[1],
    STAGE_2: results[2],
    DIRECT: loop.run(direct, (2,), seed_folder / "direct")[2],
  }


def _zero_shot(config, seed_folder):
  """Returns the test result of the pretrained weights, which have not been trained on persons of ToyPEDES."""
  model, variables, _, mesh, _ = loading.load_stage(seed_folder / "two_stages", "pretrained")
  split = _open_test(config)
  encoders = embedding.Encoders(model, mesh, config.evaluation.batch_size)
  test_metrics = embedding.summarize(encoders.score(variables, split, config.data.caption_lengths)[2])
  return {**test_metrics, "trainable_parameters": 0, "steps": 0, "seconds": 0.0}


def _open_test(config):
  return splits.open_split(
    config.data_dir, config.data.name, config.data.image_size, "test", tokenizer=config.data.tokenizer
  )


def _chance(config):
  """Returns the R@1 of a random ranking, percent: the fraction of correct gallery images, averaged over the queries."""
  ids = _open_test(config).person_id
  _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
  return float(100 * np.mean(counts[inverse]) / len(ids))


def _ceilings(pedes):
  """Returns the R@1, percent, of queries by true attributes, and by only those that the captions mention."""
  mentioned = oracle.attribute_ceilings(pedes, "test", query="mentioned")
  groups = ("all colours", "all shapes", "everything")
  return {
    **oracle.attribute_ceilings(pedes, "test"),
    **{f"{name} in the caption": mentioned[name] for name in groups},
  }


def _missed_thresholds(seed, rows, chance):
  """Returns a line for each threshold that a seed's results do not reach."""
  r1 = {name: result["t2i"]["R@1"] for name, result in rows.items()}
  missed = []
  if r1[ZERO_SHOT] < ZERO_SHOT_OVER_CHANCE * chance:
    missed.append(f"seed {seed}: zero-shot R@1 {r1[ZERO_SHOT]:.2f} is below {ZERO_SHOT_OVER_CHANCE:g} times chance")
  for name, before, least in THRESHOLDS:
    if r1[name] - r1[before] < least:
      missed.append(f"seed {seed}: R@1 {name} is {r1[name] - r1[before]:.2f} above {before}, less than {least:g}")
  return missed


def _table(seeds):
  """Returns the table, a dictionary per row: metrics of one seed, or mean ± standard deviation over several."""
  rows = []
  for name in seeds[0]:
    results = [seed[name] for seed in seeds]
    metrics = {key: mean_and_std([result["t2i"][key] for result in results]) for key in results[0]["t2i"]}
    rows.append(
      {
        "": name,
        **metrics,
        "trainable": results[0]["trainable_parameters"],
        "steps": results[0]["steps"],
        "seconds": round(float(np.mean([result["seconds"] for result in results]))),
      }
    )
  return rows


def _write_report(config, folder, seed, rows, ceilings):
  """Writes the report with the curves of one seed and the analysis of its last stage, and one query as a picture."""
  workdir = folder / f"seed{seed}" / "two_stages"
  stage_folders = {
    "stage 1": workdir / "stage1",
    "stage 2": workdir / "stage2",
    "direct fine-tuning": workdir.parent / "direct/stage2",
  }
  loaded = loading.load_stage(workdir, "2")
  split = _open_test(config)
  found = analysis.analyse(loaded, split, workdir=workdir, stage="2", data_dir=config.data_dir, show_progress=True)
  run_report.write_report(
    folder / REPORT_FILE,
    title="Text-to-image person re-identification on ToyPEDES",
    table=rows,
    curves={name: metric_log.read_metrics(path) for name, path in stage_folders.items()},
    select_by=config.select_by,
    ceilings=ceilings,
    queries=found.queries,
    further=found.sections,
    notes=_NOTES,
  )
  _write_picture(folder / PICTURE_FILE, seed, loaded, split)


def _write_picture(path, seed, loaded, split):
  """Writes the ranking of a random query whose first correct image is at rank 2 or 3: it has hits and misses."""
  encoders = embedding.Encoders(loaded.model, loaded.mesh, loaded.config.evaluation.batch_size)
  image, text, both = encoders.score(loaded.variables, split, loaded.config.data.caption_lengths)
  scores = both["t2i"]
  picked = np.random.default_rng(seed).permutation(np.flatnonzero((scores.first_rank > 1) & (scores.first_rank <= 3)))
  if picked.size:
    query = ranked_examples.rank_queries([("random", int(picked[0]))], scores, image, text, split)[0]
    ranked_examples.ranked_strip(query.caption, query.images, query.is_correct).save(path)


if __name__ == "__main__":
  config_file.define_flag("config", "toy", "config of the synthetic data")
  flags.DEFINE_string("to", "", "folder for data, runs and report")
  flags.DEFINE_list("seeds", ["0"], "seeds to run, as 0,1,2")
  cli.run(main)
