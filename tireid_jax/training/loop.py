"""Assembles a stage and runs it, from wherever it was left to its result."""

import importlib.metadata
import time

import jax

from tireid_jax.config import paths
from tireid_jax.config import values as config_lib
from tireid_jax.data import loader
from tireid_jax.data.prepared import splits
from tireid_jax.errors import DivergedError, UserError
from tireid_jax.evaluation import embedding
from tireid_jax.models import variants
from tireid_jax.parallel import distributed, sharding
from tireid_jax.profiling import capture
from tireid_jax.storage import files
from tireid_jax.terminal.progress import bar, say
from tireid_jax.training import (
  checksum,
  divergence,
  hooks,
  initialization,
  optimizers,
  origin,
  preflight,
  program,
  sources,
  stages,
)
from tireid_jax.training.model import find_variant
from tireid_jax.workdir import checkpoint, layout
from tireid_jax.workdir.metric_log import MetricWriter

_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def run(config, numbers, run_folder, profile=None):
  """Runs stages one after the other and returns {number: result}. Every process of a run calls it alike.

  Args:
    config: of the run, checked here.
    numbers: stages, ascending.
    run_folder: workdir, made if need be.
    profile: profiling.Window of the steps of each stage that are traced, None for none.
  """
  asked = [config_lib.to_json(config), list(numbers), str(run_folder), profile]
  distributed.check_same(asked, "the processes were started with different flags or config files")
  config = distributed.run_on_all(lambda: paths.with_absolute_paths(config))
  with layout.locked(run_folder) as held:
    distributed.run_on_all(lambda: preflight.check(config, numbers, run_folder, profile))
    return {number: run_stage(config, number, run_folder, held, profile) for number in numbers}


def run_stage(config, number, run_folder, held, profile=None):
  """Runs one stage and returns its result, which is also in WORKDIR/stageN/result.json; a finished one is not rerun.

  Args:
    config, number, run_folder, profile: as in `run`.
    held: from `layout.locked`.
  """
  result = layout.read_result(run_folder, number)
  found = [result, checkpoint.best_step(layout.stage_folder(run_folder, number))]
  distributed.check_same(found, f"the processes see different files in {run_folder}; it must be on a disk they share")
  if result is not None:
    say(f"stage {number} is finished in {run_folder}: test R@1 {result['t2i']['R@1']:.2f}")
    return result
  run = _Run(config, stages.from_config(config, number), run_folder, held)
  # Whatever can be refused is refused before the workdir is touched.
  fresh = None if run.resumes else run.fresh_state()
  distributed.run_on_first(lambda: layout.write_config(run_folder, run.recorded, number))
  with checkpoint.Checkpoints(run.folder) as checkpoints, hooks.StopRequest() as stop:
    seconds = run.train(checkpoints, fresh, stop, profile)
  if stop.by_now():
    say(f"stopped after the last step of stage {number}; run the same command to go on")
    raise SystemExit(stop.status())
  return run.finish(seconds)


class _Run:
  """A stage with everything that its config names: data, mesh, program."""

  def __init__(self, config, stage, run_folder, held):
    self.config, self.stage, self.run_folder, self.held = config, stage, run_folder, held
    self.folder = layout.stage_folder(run_folder, stage.number)
    self.mesh = sharding.make_mesh(**config.mesh)
    self.resumes = checkpoint.best_step(self.folder) is not None
    # As the stage's files have it: with the name by which weights were first read, should their folder have moved.
    self.recorded = origin.with_recorded_name(config, run_folder)
    self.origin: dict | None = None
    self.frozen_at_start: dict[str, str] = {}
    self.train_split = self._open("train")
    distributed.check_same(self.train_split.fingerprint, f"the processes have different data in {config.data_dir}")
    self.selection_split = None if config.select_on == "last" else self._open(config.select_on)
    if config.select_on == "test":
      say("warning: select_on=test picks the checkpoint on the split that is reported; its figures are optimistic")
    self.batches = loader.Batches(
      self.train_split, stage.batch_size, seed=config.seed, num_epochs=stage.epochs,
      caption_lengths=config.data.caption_lengths, sampler=stage.sampler,
      share=sharding.process_batch_indices(self.mesh, stage.batch_size),
    )  # fmt: skip
    self.steps_per_epoch = self.batches.steps_per_epoch
    self.num_steps = stage.epochs * self.steps_per_epoch
    self.program = program.Program(
      config, stage, self._find_variant(), self.mesh,
      num_identities=self.train_split.num_identities, steps_per_epoch=self.steps_per_epoch,
    )  # fmt: skip
    self.all_finite = self.program.all_finite()
    self.encoders = embedding.Encoders(
      self.program.model, self.mesh, config.evaluation.batch_size, compiler_options=self.program.compiler_options
    )

  def _open(self, split):
    data = self.config.data
    return splits.open_split(
      self.config.data_dir, self.stage.data or data.name, data.image_size, split, tokenizer=data.tokenizer,
      val_identities=0 if self.stage.data else data.val_identities, seed=self.config.seed,
      # One of several processes reads no more than its share.
      in_memory_bytes=splits.IN_MEMORY_BYTES if jax.process_count() == 1 else 0,
    )  # fmt: skip

  def _find_variant(self):
    if self.resumes:
      return variants.from_json(checkpoint.newest_readable_metadata(self.folder)["variant"])
    return find_variant(self.config, self._source())

  def _source(self):
    return sources.find_source(self.config, self.stage.init_from, self.run_folder, self.stage.number)

  def fresh_state(self):
    """Returns the TrainState of step 0, from where the stage's config says."""
    variables, found = initialization.initial_variables(
      self.program.model, self._source(), mesh=self.mesh, key=self.program.key, seed=self.config.seed,
      fingerprint=self.train_split.fingerprint, num_identities=self.program.num_identities,
      position_resize=self.config.model.position_resize, prefix=sources.prefix_of(self.config),
    )  # fmt: skip
    self.origin = origin.within(self.run_folder, found)
    distributed.check_same(self.origin, f"the processes read different weights by the name {self.config.pretrained}")
    before = origin.recorded(self.run_folder)
    if before and self.stage.init_from == "pretrained":
      origin.check_same(self.origin, before.get("origin"), self.run_folder)
    self.frozen_at_start = checksum.of_frozen(self.mesh, variables, self.program.labels)
    return self.program.first_state(variables)

  def _restored_state(self, checkpoints):
    """Returns (TrainState, metadata) of the newest checkpoint."""
    state, metadata = checkpoints.restore(self.program.shapes)
    if metadata["fingerprint"] != self.train_split.fingerprint:
      raise UserError(
        f"{self.folder} was trained on another {metadata['dataset']} (its fingerprint differs from the prepared one); "
        f"choose another --workdir"
      )
    self.origin = metadata.get("origin")
    if "frozen" in metadata:
      self.frozen_at_start = metadata["frozen"]
    else:
      self.frozen_at_start = checksum.of_frozen(self.mesh, state.variables, self.program.labels)
      say(
        f"{self.folder} was begun by a version that recorded neither the digest of its first weights nor checksums of "
        f"what is frozen; the checksums are those of step {int(state.step)}"
      )
    return state, metadata

  def _story(self):
    devices, parameters = jax.devices(), self.program.parameters
    mesh = ", ".join(f"{axis} {size}" for axis, size in self.mesh.shape.items())
    return (
      f"{len(devices)} {devices[0].platform} device(s) ({mesh}), {len(self.train_split.captions):,} captions of "
      f"{self.train_split.num_identities} identities, {self.num_steps} steps of {self.stage.batch_size}, "
      f"{parameters['trainable_parameters']:,} of {parameters['total_parameters']:,} parameters learn, "
      f"checkpoints in {self.folder / checkpoint.FOLDER}"
    )

  def train(self, checkpoints, fresh, stop, profile):
    """Trains to the last step and returns the seconds that took, earlier runs of the stage included.

    Args:
      checkpoints: Checkpoints of the stage.
      fresh: TrainState of step 0, or None to go on from the newest checkpoint.
      stop: StopRequest.
      profile: profiling.Window or None.
    """
    if fresh is None:
      state, metadata = self._restored_state(checkpoints)
      say(f"stage {self.stage.number}: {self._story()}, resumed at step {int(state.step)}")
    else:
      state, metadata = fresh, {"seconds": 0.0, "best_score": None}
      say(f"stage {self.stage.number}: {self._story()}, from {self.stage.init_from}")
    first_step, began = int(state.step), time.monotonic()
    train_step = self.program.step()
    with (
      MetricWriter(self.folder, first_step=first_step, enabled=distributed.is_first()) as writer,
      self.batches,
      self._bar(first_step) as progress,
      hooks.Collector() as collector,
    ):
      log = hooks.Log(
        writer, progress, every_steps=self.config.log_every_steps, batch_size=self.stage.batch_size,
        learning_rates=self._learning_rates(), all_finite=self.all_finite,
      )  # fmt: skip
      validate = self.selection_split and hooks.Evaluate(
        self._score, writer, log, split=self.config.select_on, last_step=self.num_steps,
        every_steps=self.stage.evaluate_every_epochs * self.steps_per_epoch,
      )  # fmt: skip

      def describe(step, score, best_score):
        seconds = metadata["seconds"] + time.monotonic() - began
        return self._metadata(step=step, seconds=seconds, score=score, best_score=best_score)

      save = hooks.Save(
        checkpoints, log, validate, stop, describe, every_steps=self.config.checkpoint_every_steps,
        every_minutes=self.config.checkpoint_every_minutes, best_score=metadata["best_score"],
        epoch_steps=self.steps_per_epoch, last_step=self.num_steps,
      )  # fmt: skip
      profiler = capture.Profile(profile, self.folder, log, number=self.stage.number, first_step=first_step)
      # Validation has its place between the log, which shows the step's loss, and the save, which stores its score.
      todo = [hook for hook in (self._check_lock, log, validate, save, collector, profiler) if hook]
      found = None
      try:
        with profiler:
          state = self._take_steps(state, train_step, todo, profiler)
        log.flush()
      except hooks.NotFiniteError as error:
        found = error.with_traceback(None)  # which holds the state, whose memory is needed
      if found is not None:
        try:
          ending = self._diverged(found, checkpoints, train_step, stop)
        except (OSError, ValueError) as error:
          raise DivergedError(f"{found}; what it started from could not be found or written: {error}") from error
        raise ending
    self._check_frozen(state.variables, self.num_steps)
    return metadata["seconds"] + time.monotonic() - began

  def _check_lock(self, step, state, metrics):
    del step, state, metrics
    self.held.check()

  def _take_steps(self, state, train_step, todo, profiler):
    """Returns the TrainState after the last step."""
    for step in range(int(state.step), self.num_steps):
      with profiler.step(step + 1):
        state, metrics = train_step(state, self._batch(step))
        for hook in todo:
          hook(step + 1, state, metrics)
    return state

  def _batch(self, step):
    return sharding.put_batch(self.mesh, self.batches(step))

  def _diverged(self, found, checkpoints, train_step, stop):
    """Returns the error that ends a run which came to values that are not finite, once there is a dump of the step.

    Args:
      found: hooks.NotFiniteError.
      checkpoints, train_step, stop: of the run.
    """
    checkpoints.wait()
    saved = checkpoints.latest_step()
    say(f"step {found.step} is not finite; the steps since {saved or 0} are repeated to find what it started from")

    def restore():
      return self.fresh_state() if saved is None else checkpoints.restore(self.program.shapes)[0]

    state = divergence.found_again(restore, train_step, self._batch, self.all_finite, found.step, stop.after_step)
    if state is None:
      return SystemExit(stop.status())
    step, examples = int(state.step), self.batches.examples(int(state.step))
    metrics = found.metrics if step + 1 == found.step else {}
    said = divergence.describe(step + 1, metrics, examples, f"{self.train_split.name} train")
    folder = divergence.write(
      self.folder, state, self._batch(step),
      {
        **self._metadata(step=step), **self.program.described(), "examples": examples,
        "metrics": {name: str(value) for name, value in metrics.items()},
      },
    )  # fmt: skip
    return DivergedError(
      f"{said}; python -m tireid_jax.replay {folder} shows where the first such value comes from. The last checkpoint "
      f"is kept. If it is not the fault of one example, lower the learning rate or set a clip_norm"
    )

  def _bar(self, first_step):
    name, hidden = f"stage {self.stage.number}", not distributed.is_first()
    return bar(total=self.num_steps, initial=first_step, desc=name, unit="step", disable=hidden)

  def _learning_rates(self):
    present = set(jax.tree.leaves(self.program.labels))
    rates = optimizers.learning_rates(self.stage, self.steps_per_epoch)
    return {group: rate for group, rate in rates.items() if group in present}

  def _score(self, variables):
    _, _, scores = self.encoders.score(variables, self.selection_split, self.config.data.caption_lengths)
    return embedding.figures(scores)

  def _metadata(self, **progress):
    return {
      "config": config_lib.to_json(self.recorded),
      "variant": variants.to_json(self.program.model.variant),
      "stage": self.stage.number,
      **progress,
      "dataset": self.train_split.name,
      "fingerprint": self.train_split.fingerprint,
      "trains": list(self.stage.trains),
      **self.program.parameters,
      "origin": self.origin,
      "frozen": self.frozen_at_start,
      "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }

  def _check_frozen(self, variables, step):
    """Returns the checksums of what the stage does not train, at a step.

    Raises:
      ValueError: they are not those of the stage's start.
    """
    found = checksum.of_frozen(self.mesh, variables, self.program.labels)
    changed = [group for group, value in self.frozen_at_start.items() if found.get(group) != value]
    if changed:
      raise UserError(
        f"stage {self.stage.number} in {self.run_folder} does not train {', '.join(changed)}, but at step {step} they "
        f"are no longer what they were at its start; its results are not written: run it anew in another --workdir"
      )
    return found

  def finish(self, seconds):
    """Scores the chosen checkpoint on the test split, once; writes and returns the result."""
    step = checkpoint.best_step(self.folder)
    variables, _ = checkpoint.restore_variables(self.folder, step, self.mesh)
    frozen = self._check_frozen(variables, step)
    split = self._open("test")
    embedding.warn_if_small(split)
    _, _, scores = self.encoders.score(variables, split, self.config.data.caption_lengths, show_progress=True)
    result = {
      "stage": self.stage.number,
      "step": step,
      "split": "test",
      **embedding.figures(scores),
      **embedding.gallery_counts(split),
      "selected_on": self.config.select_on,
      "selection": self._score(variables) if self.selection_split else None,
      "dataset": split.name,
      "fingerprint": split.fingerprint,
      "ablation": self.config.ablation,
      "seed": self.config.seed,
      "steps": self.num_steps,
      "seconds": round(seconds, 1),
      **self.program.parameters,
      "origin": self.origin,
      "frozen": {"start": self.frozen_at_start, "end": frozen},
    }

    def write():
      self.held.check()
      layout.write_npz(self.folder / layout.RANKS_FILE, embedding.score_arrays(scores, split))
      files.write_json(self.folder / layout.RESULT_FILE, result)

    distributed.run_on_first(write)
    figures = "  ".join(f"{name} {value:.2f}" for name, value in result["t2i"].items())
    say(f"stage {self.stage.number}, step {step}, {split.name} test, text to image: {figures}")
    return result
