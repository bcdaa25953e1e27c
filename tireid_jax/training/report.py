"""Reports a fitted experiment: its selected checkpoint, scored once on the test split."""

from typing import Any

from tireid_jax.evaluation import embedding, score_file
from tireid_jax.parallel import distributed
from tireid_jax.storage import files
from tireid_jax.storage.lock import Lock
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import protocol_report
from tireid_jax.training.experiment import Experiment
from tireid_jax.training.start import Start, check_frozen
from tireid_jax.workdir import checkpoint, layout


def report(
  experiment: Experiment, start: Start, *, seconds: float, lock: Lock, reports_protocol: bool = False
) -> dict[str, Any]:
  """Scores the selected checkpoint on the test split; writes the ranks and the result, and returns the result.

  Args:
    experiment: fitted to its last step.
    start: where its training started.
    seconds: that it took.
    lock: on the workdir, checked before anything is written.
    reports_protocol: add the `protocol_report` to the result.

  Raises:
    ValueError: the checkpoint is damaged, or variables that the stage does not train have changed.
  """
  config, stage = experiment.config, experiment.stage
  step = checkpoint.best_step(experiment.folder)
  assert step is not None  # the last step was saved
  variables, _ = checkpoint.restore_variables(experiment.folder, step, experiment.mesh)
  frozen = check_frozen(experiment, start, variables, step)
  split = experiment.data.open_split(config, stage, "test")
  embedding.warn_if_small(split)
  _, _, scores = experiment.encoders.score(variables, split, config.data.caption_lengths, show_progress=True)
  result = {
    "stage": stage.number,
    "step": step,
    "split": "test",
    **embedding.summarize(scores),
    **embedding.gallery_counts(split),
    "selected_on": config.select_on,
    "selected_by": config.select_by,
    "selection": experiment.score(variables) if experiment.selection_split else None,
    "dataset": split.name,
    "fingerprint": split.fingerprint,
    "ablation": config.ablation,
    "seed": config.seed,
    "steps": experiment.num_steps,
    "seconds": round(seconds, 1),
    **experiment.program.parameters,
    "origin": start.origin,
    "frozen": {"start": start.frozen, "end": frozen},
  }

  if reports_protocol:
    result[protocol_report.KEY] = protocol_report.summarize(experiment, result)

  def write():
    lock.check()
    layout.write_npz(experiment.folder / layout.RANKS_FILE, score_file.to_arrays(scores, split))
    files.write_json(experiment.folder / layout.RESULT_FILE, result)

  distributed.run_on_first(write)
  metrics = "  ".join(f"{name} {value:.2f}" for name, value in result["t2i"].items())
  log_line(f"stage {stage.number}, step {step}, {split.name} test, text to image: {metrics}")
  return result
