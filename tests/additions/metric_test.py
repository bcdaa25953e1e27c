"""Adding a metric changes one file, and the metric can select the best checkpoint."""

import json

from tests import small_runs
from tests.additions.copying import Copy
from tireid_jax.config import values

METRIC = '  "MRR": lambda scores: 1 / scores.first_rank,\n'
AFTER = '  "mINP": lambda scores: scores.inverse_negative_penalty,\n'
# Tries seeds until the best checkpoint by the new metric is neither the last nor the best by the default metric.
RUNS = """
import json, pathlib, sys
from tireid_jax.config import values
from tireid_jax.evaluation import score_file, significance
from tireid_jax.training import loop

for seed in range(10):
  config = values.from_json(json.loads(sys.argv[1]))
  config.seed, folder = seed, pathlib.Path(f"run{seed}")
  result = loop.run(config, (2,), folder)[2]
  records = [json.loads(line) for line in (folder / "stage2/metrics.jsonl").read_text().splitlines()]
  scores = {
    name: {record["step"]: record[name] for record in records if name in record}
    for name in ("val/i2t/MRR", "val/t2i/R@1")
  }
  best, default = (max(found, key=lambda step: (found[step], step)) for found in scores.values())
  if best not in (default, result["steps"]):
    break
ranks = score_file.read(folder / "stage2/ranks_test.npz")
table = significance.compare(ranks, ranks, num_resamples=10)
print(json.dumps({"result": result, "scores": scores, "best": best, "compared": [row["metric"] for row in table]}))
"""


def test_a_metric_is_added_in_one_file_and_selects_a_checkpoint_that_is_not_the_last(tmp_path):
  project = small_runs.make_project(tmp_path / "project")
  copy = Copy(tmp_path / "copy")
  copy.edit("tireid_jax/metrics.py", (AFTER, AFTER + METRIC))
  assert copy.changed_files() == ["tireid_jax/metrics.py"]
  config = small_runs.configured(
    project, select_by="i2t/MRR", stage2__init_from="pretrained", stage2__epochs=5, stage2__learning_rate=0.03
  )
  found = json.loads(copy.python(RUNS, json.dumps(values.to_json(config))).splitlines()[-1])
  result, best = found["result"], found["best"]
  assert best < result["steps"]
  assert (result["step"], result["selected_by"]) == (best, "i2t/MRR")
  assert result["selection"]["i2t"]["MRR"] == found["scores"]["val/i2t/MRR"][str(best)]
  assert list(result["t2i"]) == list(result["i2t"]) == ["R@1", "R@5", "R@10", "mAP", "mINP", "MRR"]
  assert found["compared"] == 2 * list(result["t2i"])
