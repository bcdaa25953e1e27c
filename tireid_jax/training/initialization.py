"""Where a run's variables come from: random, published weights, or an earlier stage's checkpoint."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from tireid_jax.config import values as config_lib
from tireid_jax.data.prepared import splits
from tireid_jax.errors import MissingFileError, UserError
from tireid_jax.models import pretrained, variants
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.execution import (
  ATTENTIONS,
  BLOCKS,
  REMATS,
  Execution,
  anywhere,
  choose_attention,
  choose_dot_general,
  choose_remat,
  scans_blocks,
)
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.variants import VARIANTS
from tireid_jax.models.weights import hub, positions
from tireid_jax.parallel import rules
from tireid_jax.storage import files
from tireid_jax.terminal.progress import say
from tireid_jax.training import origin, stages
from tireid_jax.training.stages import path_string
from tireid_jax.workdir import best, checkpoint, layout

# As config.model.variant: sizes and numerics as the weights have them.
FROM_WEIGHTS = "from_weights"

_say_once = functools.cache(say)

# Deviation of the identity head's initial weights (IRRA).
ID_HEAD_STD = 0.001


def find_variant(config, source):
  """Returns the Variant that a config names, or, for "from_weights", the one of what a run starts from.

  Args:
    config: of the run.
    source: from `find_source`, read for "from_weights" alone.

  Raises:
    ValueError: for an unknown variant, or if nothing tells which it is.
  """
  name, heads = config.model.variant, config.model.num_heads
  if name == FROM_WEIGHTS:
    if source is None:
      raise UserError(f"model.variant={name} needs weights to start from; name a variant: {', '.join(VARIANTS)}")
    kind, path = source
    if kind == "checkpoint":
      return variants.from_json(best.read_metadata(path)["variant"])
    return pretrained.open_weights(
      path, tuple(config.data.image_size), num_heads=heads, activation=config.model.activation,
      stride=config.model.stride, prefix=prefix_of(config),
    ).variant  # fmt: skip
  if name not in VARIANTS:
    raise UserError(
      f"model.variant is {name!r}{config_lib.nearest(name, VARIANTS)}; it must be {FROM_WEIGHTS} or one of "
      f"{', '.join(VARIANTS)}"
    )
  variant = VARIANTS[name]
  image, text = (
    dataclasses.replace(tower, num_heads=given or tower.num_heads)
    for tower, given in zip((variant.image, variant.text), heads, strict=True)
  )
  activation = config.model.activation or variant.activation
  return dataclasses.replace(variant, image=image, text=text, activation=activation)


def prefix_of(config):
  """Returns config.pretrained_prefix, "" of a workdir from before there was one."""
  return config.get("pretrained_prefix", "")


def check_weights(config, source, variant):
  """Raises ValueError or FileNotFoundError for weights that are missing, damaged or of another model.

  Args:
    config: of the run.
    source: from `find_source`.
    variant: from `find_variant`.
  """
  if source is None:
    return
  kind, path = source
  if kind == "checkpoint":
    _check_same_model(best.read_metadata(path), variant, path)
  else:
    pretrained.open_weights(
      path, tuple(config.data.image_size), variant=variant, stride=config.model.stride, prefix=prefix_of(config)
    )


def _check_same_model(metadata, variant, path):
  """Raises ValueError if a checkpoint is of another model: heads, activation and the like show in no shape.

  The image size that published weights were made for is no difference: the position table has been resized.
  """
  found = dataclasses.replace(variants.from_json(metadata["variant"]), native_image_size=variant.native_image_size)
  wrong = variants.differences(found, variant)
  if wrong:
    named = "; ".join(f"{field} is {there} there, {here} here" for field, (there, here) in wrong.items())
    raise UserError(
      f"the checkpoint in {path} is of another model: {named}; set --config.model.* as it was trained, or "
      f"--config.model.variant={FROM_WEIGHTS} to take its own"
    )


def read_origin(config, run_folder, mesh):
  """Returns the origin of what config.pretrained names now; errors as `find_source` and as reading it."""
  kind, path = find_source(config, "pretrained", run_folder, 1)
  if kind == "checkpoint":
    step, variables, metadata = best.restore(path, mesh)
    return origin.of_checkpoint(path, step, metadata, variables, mesh)
  file, revision = pretrained.open_file(path)
  return origin.of_weights(path, file, prefix=prefix_of(config), revision=revision)


def check_tokens(variant, info):
  """Raises ValueError if a Variant cannot read the captions of a prepared data set, of which `info` is known."""
  splits.check_tokens(
    info, vocabulary_size=variant.vocabulary_size, end_token=variant.end_token, text_length=variant.text_length
  )


def build_model(config, variant, *, use_prompts, precision, platform=None, place=anywhere, gather=None):
  """Returns the CLIP module of a Variant that a config describes.

  Args:
    config: of the run.
    variant: Variant.
    use_prompts, precision: as in the stage's config.
    platform: of the devices that are to run it; that of this process' own if not given.
    place, gather: as in Execution.

  Raises:
    ValueError: for prompts that do not fit it, or a choice that there is not.
  """
  spec = PromptSpec(**config.prompts.to_dict()) if use_prompts else PromptSpec()
  spec.check(variant.image.num_blocks, variant.text.num_blocks)
  config_lib.one_of(config, "model.remat", REMATS)
  config_lib.one_of(config, "model.position_resize", positions.METHODS)
  config_lib.one_of(config, "model.attention", ATTENTIONS)
  config_lib.one_of(config, "model.blocks", BLOCKS)
  platform = platform or jax.default_backend()
  if precision == "auto":
    precision = "float32" if platform == "cpu" else "bfloat16"
  attention = choose_attention(
    config.model.attention, variant=variant, dtype=precision, platform=platform,
    lengths=variants.sequence_lengths(variant, config.data.image_size, config.model.stride, spec), log=_say_once,
  )  # fmt: skip
  scan_blocks = scans_blocks(config.model.blocks, platform=platform)
  remat = choose_remat(config.model.remat, scan_blocks=scan_blocks)
  dot_general = choose_dot_general(dtype=precision, platform=platform)
  execution = Execution(jnp.dtype(precision), scan_blocks, remat, attention, place, gather, dot_general)
  return CLIP(variant, tuple(config.data.image_size), spec, execution, config.model.stride)


def draw_variables(model, key, num_identities=0):
  """Returns freshly drawn variables, with an identity head of so many classes if there are any."""
  head_key, model_key = jax.random.split(key)
  variables = init_variables(model, model_key)
  if num_identities:
    shape = (model.variant.embedding_size, num_identities)
    variables["params"]["id_head"] = {
      "kernel": ID_HEAD_STD * jax.random.normal(head_key, shape),
      "bias": jnp.zeros(num_identities),
    }
  return variables


def initial_variables(
  model, source, *, mesh, key, seed=0, num_identities=0, fingerprint="", position_resize="bilinear", prefix=""
):
  """Returns (variables on `mesh`, their origin): from the source, and freshly drawn what it does not have.

  Args:
    model: CLIP module.
    source: from `find_source`: None for random.
    mesh: where they shall be.
    key: of the random draws.
    seed: that the key follows from, for the origin.
    num_identities: C of the identity head; 0 for none.
    fingerprint: of the training data; a head learned on other data starts anew.
    position_resize: how a published position table gets to another grid.
    prefix: of the tensors' names, of a published file with several CLIPs.
  """

  def draw():
    return draw_variables(model, key, num_identities)

  def draw_rest():
    drawn = draw()
    return {"prompts": drawn["prompts"], "id_head": drawn["params"].get("id_head")}

  shapes = jax.eval_shape(draw)
  shardings = rules.tree_shardings(mesh, shapes)
  if source is None:
    return jax.jit(draw, out_shardings=shardings)(), origin.of_random(seed)
  kind, path = source
  if kind == "checkpoint":
    step, loaded, metadata = best.restore(path, mesh)
    _check_same_model(metadata, model.variant, path)
    keep_head = metadata["fingerprint"] == fingerprint
    found = origin.of_checkpoint(path, step, metadata, loaded, mesh)
  else:
    weights = pretrained.open_weights(path, model.image_size, variant=model.variant, stride=model.stride, prefix=prefix)
    _, loaded = pretrained.read(weights, model.image_size, stride=model.stride, position_resize=position_resize)
    keep_head = False
    found = origin.of_weights(path, weights, prefix=weights.prefix, revision=weights.revision)
  # Compiled, so that of the whole draw no more than this is made.
  rest = jax.jit(
    draw_rest, out_shardings={"prompts": shardings["prompts"], "id_head": shardings["params"].get("id_head")}
  )()
  return rules.put_tree(_adopt(shapes, rest, loaded, path, keep_head), shardings), found


def _adopt(wanted, fresh, loaded, path, keep_head):
  """Returns the loaded variables, of the shapes wanted, with what they lack taken from `fresh`; only prompts and the
  identity head may be lacking."""
  loaded = {"params": dict(loaded["params"]), "prompts": loaded["prompts"]}
  head = loaded["params"].pop("id_head", None)
  if fresh["id_head"] is not None:
    if head is not None and keep_head and head["kernel"].shape == fresh["id_head"]["kernel"].shape:
      loaded["params"]["id_head"] = head
    else:
      loaded["params"]["id_head"] = fresh["id_head"]
      if head is not None:
        say(f"the identity head of {path} is of other training identities; it starts anew")
  if fresh["prompts"] and not loaded["prompts"]:
    say(f"{path} has no prompts; they start at random")
    loaded["prompts"] = fresh["prompts"]
  elif loaded["prompts"] and not fresh["prompts"]:
    say(f"the prompts in {path} are left out: this stage has none")
    loaded["prompts"] = {}
  shapes = [
    {path_string(key): leaf.shape for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    for tree in (wanted, loaded)
  ]
  wrong = [
    f"{name} is {shapes[1].get(name, 'missing')} there, {shapes[0].get(name, 'unknown')} here"
    for name in sorted(shapes[0].keys() | shapes[1].keys())
    if shapes[0].get(name) != shapes[1].get(name)
  ]
  if wrong:
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise UserError(f"the variables in {path} do not fit this model: {'; '.join(wrong[:3])}{more}")
  return loaded


def find_source(config, init_from, run_folder, number):
  """Returns None for random, or ("checkpoint", stage folder) or ("pretrained", path).

  Args:
    config: of the run.
    init_from: "random", "pretrained", "stage0", "stage1" or a path.
    run_folder: workdir of the run.
    number: of the stage that starts, for messages.

  Raises:
    FileNotFoundError, ValueError: if there is nothing to start from; never random weights instead.
  """
  if init_from == "random":
    return None
  flag = f"--config.stage{number}.init_from"
  if init_from == "pretrained":
    flag = "--config.pretrained"
    if not config.pretrained:
      raise UserError(
        f"stage {number} starts from pretrained weights, but pretrained is empty; "
        f"set --config.pretrained to the file, folder or hub id of a CLIP model"
      )
    init_from = config.pretrained
  if init_from in ("stage0", "stage1", "stage2"):
    before = int(init_from[-1])
    folder = layout.stage_folder(run_folder, before)
    if checkpoint.chosen_step(folder) is None or layout.read_result(run_folder, before) is None:
      raise MissingFileError(
        f"stage {number} starts from stage {before}, but {folder} holds no finished run of it; run "
        f"--stage={before} first or set --config.stage{number}.init_from=pretrained"
      )
    return "checkpoint", folder
  path = files.check(files.to_path(init_from, flag))
  if init_from in VARIANTS and not path.exists():
    raise UserError(
      f"{flag}={init_from} names a variant, not weights; give a file, a folder or a hub id, as "
      f"openai/clip-vit-base-patch16, and the variant as --config.model.variant={init_from}"
    )
  for folder in (path, path / "stage1", path / "stage0"):
    if checkpoint.chosen_step(folder) is not None:
      return "checkpoint", folder
  if files.is_remote(path):
    raise MissingFileError(
      f"stage {number} starts from {path}, which holds no checkpoint of a run; published weights must be a local file "
      f"or folder, or a hub id"
    )
  if path.exists() or hub.is_hub_id(init_from):
    return "pretrained", init_from
  raise MissingFileError(
    f"stage {number} starts from {init_from!r}, which is no file or folder; give a workdir, a stage folder, or "
    f"the file, folder or hub id of a CLIP model"
  )


def load_stage(run_folder, stage, *, config=None):
  """Returns (model, variables, config, mesh, step) of a finished or running stage, or of the pretrained weights.

  Args:
    run_folder: workdir; None for pretrained weights that `config` names.
    stage: "0", "1", "2" or "pretrained".
    config: where there is no workdir.
  """
  if stage not in ("0", "1", "2", "pretrained"):
    raise UserError(f"--stage={stage} is no stage; it must be pretrained, 0, 1 or 2")
  if run_folder:
    config = layout.read_config(run_folder)
    config.model.attention = "auto"  # what runs here, whatever machine trained it
  mesh = rules.make_mesh(-1, 1, 1)  # all devices here, whatever mesh trained it
  key = jax.random.key(config.seed)
  if stage == "pretrained":
    stages.from_config(config, 1)  # a workdir of another version is refused as such
    source = find_source(config, "pretrained", run_folder, 1)
    model = build_model(config, find_variant(config, source), use_prompts=False, precision="auto")
    variables, found = initial_variables(
      model, source, mesh=mesh, key=key, position_resize=config.model.position_resize, prefix=prefix_of(config)
    )
    before = run_folder and origin.recorded(run_folder)
    if before:
      origin.check_same(found, before.get("origin"), run_folder)
    return model, variables, config, mesh, 0
  folder = layout.stage_folder(run_folder, int(stage))
  if checkpoint.chosen_step(folder) is None:
    raise MissingFileError(f"{folder} holds no checkpoint; run --stage={stage} in this workdir first")
  step, variables, metadata = best.restore(folder, mesh)
  config = config_lib.from_json(metadata["config"])
  config.model.attention = "auto"
  settings = stages.from_config(config, int(stage))
  variant = variants.from_json(metadata["variant"])
  model = build_model(config, variant, use_prompts=settings.use_prompts, precision=settings.precision)
  return model, variables, config, mesh, step
