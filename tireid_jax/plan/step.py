"""Compiles the training step of a stage for devices that need not exist."""

import contextlib
import copy
import dataclasses
import math
import os
import re
import sys
import tempfile
import time
import typing

import jax
import jax.numpy as jnp

from tireid_jax.config import values as config_lib
from tireid_jax.data.datasets import registry
from tireid_jax.data.prepared import splits
from tireid_jax.data.raw import schema
from tireid_jax.errors import UserError
from tireid_jax.parallel import sharding
from tireid_jax.training import sources, stages
from tireid_jax.training.model import FROM_WEIGHTS, find_variant
from tireid_jax.training.program import Program


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
  """A training step, traced and compiled.

  Attributes:
    stage: Stage.
    mesh: Mesh.
    model: CLIP module.
    batch: {name: ShapeDtypeStruct} of the input of a step.
    steps_per_epoch: number of steps in an epoch.
    traced: HLO text before compilation, for all devices together.
    plain: the same without recomputation by memory-saving options; equal to `traced` if none is in use.
    compiled: jax.stages.Compiled, or None if the step does not fit the memory of a device.
    needed_bytes: memory needed per device, if the step does not fit and the compiler reports it; else None.
    seconds: time that compilation took.
    rematerialized: warnings of the partitioner that an array had to be replicated on each device.
  """

  stage: stages.Stage
  mesh: jax.sharding.Mesh
  model: typing.Any
  batch: dict
  steps_per_epoch: int
  traced: str
  plain: str
  compiled: typing.Any
  needed_bytes: int | None
  seconds: float
  rematerialized: list[str]


def compile_step(config, number, devices, *, caption_length=0):
  """Returns the Step of stage `number` of a config, compiled for the config's mesh over `devices`.

  Neither data nor weights are needed: if the data set is not prepared, its published counts are used.

  Args:
    config: config of the run.
    number: stage number.
    devices: devices to compile for.
    caption_length: number of tokens that the captions are padded to; 0 for the longest of the config.

  Raises:
    UserError: the config is invalid.
  """
  config_lib.check(config)
  if caption_length and caption_length not in config.data.caption_lengths:
    lengths = ", ".join(map(str, config.data.caption_lengths))
    raise UserError(f"--caption_length={caption_length} is not in data.caption_lengths; give one of {lengths}")
  stage = stages.from_config(config, number)
  mesh = sharding.make_mesh(**config.mesh, devices=devices)
  for field in ("batch_size", "microbatch_size"):
    sharding.check_batch(f"{stage.name}.{field}", getattr(stage, field), mesh, stage.captions_per_image)
  counts = training_counts(config, stage)
  steps_per_epoch = _steps_per_epoch(stage, counts)
  variant = find_variant(config, _source(config))
  batch = _batch(config, stage, mesh, caption_length or config.data.caption_lengths[-1])

  def lower(config, stage):
    program = Program(config, stage, variant, mesh, num_identities=counts.ids, steps_per_epoch=steps_per_epoch)
    return program.model, program.step().lower(program.shapes, batch)

  model, lowered = lower(config, stage)
  traced = plain = lowered.as_text(dialect="hlo")
  if model.execution.remat != "none" or stage.num_chunks > 1:
    plain = lower(*_without_recomputation(config, stage))[1].as_text(dialect="hlo")
  began = time.monotonic()
  with _native_stderr() as warnings:
    compiled, needed_bytes = _compile(lowered)
  return Step(
    stage, mesh, model, batch, steps_per_epoch, traced, plain, compiled, needed_bytes,
    time.monotonic() - began, re.findall(r"Involuntary full rematerialization.*", warnings[0]),
  )  # fmt: skip


def _without_recomputation(config, stage):
  """Returns config and stage without the options that save memory by recomputation."""
  plain = copy.deepcopy(config)
  plain.model.remat = "none"
  return plain, dataclasses.replace(stage, microbatch_size=0)


def _compile(lowered):
  """Returns (Compiled, None), or (None, bytes needed per device or None) if the program does not fit."""
  try:
    return lowered.compile(), None
  except jax.errors.JaxRuntimeError as error:
    if not str(error).startswith("RESOURCE_EXHAUSTED"):
      raise
    return None, needed_memory(str(error))


def needed_memory(message: str) -> int | None:
  """Returns the bytes that a program needs according to the compiler's error, or None if it does not report them."""
  found = re.search(r"Used ([\d.]+)([KMGT]) of|temporaries \(([\d.]+)([KMGT])\)", message)
  if not found:
    return None
  number, unit = found[1] or found[3], found[2] or found[4]
  return int(float(number) * 1024 ** ("KMGT".index(unit) + 1))


@contextlib.contextmanager
def _native_stderr():
  """Captures file descriptor 2, which compilers write to; the yielded list holds the text once the block is left."""
  sys.stderr.flush()
  original = os.dup(2)
  written: list[str] = []
  with tempfile.TemporaryFile() as file:
    os.dup2(file.fileno(), 2)
    try:
      yield written
    finally:
      os.dup2(original, 2)
      os.close(original)
      file.seek(0)
      written.append(file.read().decode(errors="replace"))


def training_counts(config, stage):
  """Returns the Counts of the training split: those of the prepared data set, or else the published ones."""
  name = stage.data or config.data.name
  held_out = 0 if stage.data else config.data.val_identities
  layout = registry.layout_of(name)
  path = splits.prepared_path(config.data_dir, name, config.data.image_size)
  if (path / splits.INFO_FILE).is_file():
    info = splits.dataset_info(config.data_dir, name, config.data.image_size, config.data.tokenizer)
    counts = schema.Counts(**info["counts"]["train"])
  elif layout.published:
    counts = layout.published["train"]
  else:
    raise UserError(
      f"the size of {name} is not published and it is not prepared in {config.data_dir}; prepare it first: "
      f"{splits.prepare_command(config.data_dir, name, config.data.image_size, config.data.tokenizer)}"
    )
  # Held-out identities remove a proportional number of images and captions.
  return schema.Counts(
    counts.ids - held_out, *(round(n * (counts.ids - held_out) / counts.ids) for n in (counts.images, counts.captions))
  )


def batch_range(config, number, devices):
  """Returns the (smallest, largest) batch size of a stage: the least that mesh and sampler divide, and one epoch."""
  stage = stages.from_config(config, number)
  mesh = sharding.make_mesh(**config.mesh, devices=devices)
  together = stage.sampler["captions_per_identity"] if stage.sampler["kind"] == "identities" else 1
  least = math.lcm(sharding.batch_devices(mesh) * stage.captions_per_image, together, stage.microbatch_size or 1)
  num, size = _epoch(stage, training_counts(config, stage))
  return least, num * size


def _steps_per_epoch(stage, counts):
  num, size = _epoch(stage, counts)
  steps = num // (stage.batch_size // size)
  if not steps:
    raise UserError(f"{stage.name}.batch_size is {stage.batch_size}, but an epoch has only {num * size}")
  return steps


def _epoch(stage, counts):
  """Returns (number of groups of captions in an epoch, captions sampled from each)."""
  return {
    "captions": (counts.captions, 1),
    "identities": (counts.ids, stage.sampler["captions_per_identity"]),
    "images": (counts.images, stage.sampler["captions_per_image"]),
  }[stage.sampler["kind"]]


def _source(config):
  """Returns the weights that define the model if `model.variant` is from_weights; None for a named variant."""
  if config.model.variant != FROM_WEIGHTS:
    return None
  return sources.find_source(config, "pretrained", None, 1)


def _batch(config, stage, mesh, caption_length):
  """Returns the abstract batch of a step."""
  where, size = sharding.batch_sharding(mesh), stage.batch_size
  shapes = {
    "images": ((size // stage.captions_per_image, *config.data.image_size, 3), jnp.uint8),
    "tokens": ((size, caption_length), jnp.int32),
    "person_id": ((size,), jnp.int32),
  }
  return {name: jax.ShapeDtypeStruct(shape, kind, sharding=where) for name, (shape, kind) in shapes.items()}
