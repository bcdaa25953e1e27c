"""Where a run's variables come from: random, published weights, or an earlier stage's checkpoint."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp

from tireid_jax import checkpoint, sharding, stages, workdir
from tireid_jax import config as config_lib
from tireid_jax.models import pretrained
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.models.transformer import REMAT_POLICIES
from tireid_jax.models.variants import VARIANTS
from tireid_jax.progress import say
from tireid_jax.stages import path_string

# Deviation of the identity head's initial weights (IRRA).
ID_HEAD_STD = 0.001


def build_model(config, *, use_prompts, precision):
  """Returns the CLIP module that a config describes.

  Raises:
    ValueError: for an unknown variant, or prompts that do not fit it.
  """
  if config.model.variant not in VARIANTS:
    raise ValueError(f"model.variant is {config.model.variant!r}; the variants are {', '.join(VARIANTS)}")
  variant = VARIANTS[config.model.variant]
  spec = PromptSpec(**config.prompts.to_dict())
  spec.check(variant.image.num_blocks, variant.text.num_blocks)
  if config.model.remat not in REMAT_POLICIES:
    raise ValueError(f"model.remat is {config.model.remat!r}; it must be one of {', '.join(REMAT_POLICIES)}")
  if precision == "auto":
    precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
  return CLIP(
    variant,
    tuple(config.data.image_size),
    spec if use_prompts else PromptSpec(),
    jnp.dtype(precision),
    config.model.scan_blocks,
    config.model.remat,
  )


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


def initial_variables(model, source, *, mesh, key, num_identities=0, fingerprint=""):
  """Returns variables on `mesh`: freshly drawn, then replaced by whatever the source holds.

  Args:
    model: CLIP module.
    source: from `find_source`: None for random.
    mesh: where they shall be.
    key: of the random draws.
    num_identities: C of the identity head; 0 for none.
    fingerprint: of the training data; a head learned on other data starts anew.
  """

  def draw():
    return draw_variables(model, key, num_identities)

  shardings = sharding.tree_shardings(mesh, jax.eval_shape(draw))
  variables = jax.jit(draw, out_shardings=shardings)()
  if source is None:
    return variables
  kind, path = source
  if kind == "checkpoint":
    loaded, metadata = checkpoint.restore_variables(path, checkpoint.chosen_step(path), mesh)
    keep_head = metadata["fingerprint"] == fingerprint
  else:
    loaded_model, loaded = pretrained.load(path, model.image_size)
    keep_head = False
    # The image size that the weights were made for does not matter: their position table has been resized.
    if dataclasses.replace(loaded_model.variant, native_image_size=model.variant.native_image_size) != model.variant:
      raise ValueError(f"model.variant is {model.variant}, but the weights in {path} are of {loaded_model.variant}")
  return jax.device_put(_adopt(variables, loaded, path, keep_head), shardings)


def _adopt(fresh, loaded, path, keep_head):
  """Returns `fresh` with every leaf that `loaded` has; only prompts and the identity head may be lacking there."""
  loaded = {"params": dict(loaded["params"]), "prompts": loaded["prompts"]}
  head = loaded["params"].pop("id_head", None)
  wanted_head = fresh["params"].get("id_head")
  if wanted_head is not None:
    if head is not None and keep_head and head["kernel"].shape == wanted_head["kernel"].shape:
      loaded["params"]["id_head"] = head
    else:
      loaded["params"]["id_head"] = wanted_head
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
    for tree in (fresh, loaded)
  ]
  wrong = [
    f"{name} is {shapes[1].get(name, 'missing')} there, {shapes[0].get(name, 'unknown')} here"
    for name in sorted(shapes[0].keys() | shapes[1].keys())
    if shapes[0].get(name) != shapes[1].get(name)
  ]
  if wrong:
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise ValueError(f"the variables in {path} do not fit this model: {'; '.join(wrong[:3])}{more}")
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
  if init_from == "pretrained":
    if not config.pretrained:
      raise ValueError(
        f"stage {number} starts from pretrained weights, but pretrained is empty; "
        f"set --config.pretrained to the folder of a Hugging Face CLIP model"
      )
    init_from = config.pretrained
  if init_from in ("stage0", "stage1", "stage2"):
    before = int(init_from[-1])
    folder = workdir.stage_folder(run_folder, before)
    if checkpoint.chosen_step(folder) is None or workdir.read_result(run_folder, before) is None:
      raise FileNotFoundError(
        f"stage {number} starts from stage {before}, but {folder} holds no finished run of it; run "
        f"--stage={before} first or set --config.stage{number}.init_from=pretrained"
      )
    return "checkpoint", folder
  path = pathlib.Path(init_from).expanduser()
  for folder in (path, path / "stage1", path / "stage0"):
    if checkpoint.chosen_step(folder) is not None:
      return "checkpoint", folder
  if not path.is_dir():
    raise FileNotFoundError(
      f"stage {number} starts from {init_from!r}, which is no folder; give a workdir, a stage folder, or the folder of "
      f"a Hugging Face CLIP model"
    )
  return "pretrained", path


def load_stage(run_folder, stage, *, config=None):
  """Returns (model, variables, config, mesh, step) of a finished or running stage, or of the pretrained weights.

  Args:
    run_folder: workdir; None for pretrained weights that `config` names.
    stage: "0", "1", "2" or "pretrained".
    config: where there is no workdir.
  """
  if stage not in ("0", "1", "2", "pretrained"):
    raise ValueError(f"--stage={stage} is no stage; it must be pretrained, 0, 1 or 2")
  config = workdir.read_config(run_folder) if run_folder else config
  mesh = sharding.make_mesh(-1, 1, 1)  # all devices here, whatever mesh trained it
  key = jax.random.key(config.seed)
  if stage == "pretrained":
    source = find_source(config, "pretrained", run_folder, 1)
    model = build_model(config, use_prompts=False, precision="auto")
    return model, initial_variables(model, source, mesh=mesh, key=key), config, mesh, 0
  folder = workdir.stage_folder(run_folder, int(stage))
  step = checkpoint.chosen_step(folder)
  if step is None:
    raise FileNotFoundError(f"{folder} holds no checkpoint; run --stage={stage} in this workdir first")
  variables, metadata = checkpoint.restore_variables(folder, step, mesh)
  config = config_lib.from_json(metadata["config"])
  settings = stages.from_config(config, int(stage))
  model = build_model(config, use_prompts=settings.use_prompts, precision=settings.precision)
  return model, variables, config, mesh, step
