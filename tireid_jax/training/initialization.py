"""A stage's first variables: loaded from their source where it has them, and randomly initialised where not."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from tireid_jax.errors import UserError
from tireid_jax.models import pretrained
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.parallel import sharding
from tireid_jax.terminal.progress import log_line
from tireid_jax.training import origin
from tireid_jax.training.model import check_same_model
from tireid_jax.training.sources import Source
from tireid_jax.training.stages import path_string
from tireid_jax.workdir import best_checkpoint

# Standard deviation of the identity head's initial weights (IRRA).
ID_HEAD_STD = 0.001


def random_variables(model: CLIP, key: jax.Array, num_identities: int = 0) -> dict[str, Any]:
  """Returns randomly initialised variables, with an identity head if `num_identities` (its classes) is not 0."""
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
  model: CLIP,
  source: Source | None,
  *,
  mesh: Mesh,
  key: jax.Array,
  seed: int = 0,
  num_identities: int = 0,
  fingerprint: str = "",
  position_resize: str = "bilinear",
  prefix: str = "",
  new_head: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns (variables on `mesh`, their origin): loaded from the source; what it lacks is randomly initialised.

  Args:
    model: CLIP module.
    source: from `find_source`; None for random variables.
    mesh: that the variables are placed on.
    key: random key of the initialisation.
    seed: from which the key was derived, for the origin.
    num_identities: C of the identity head; 0 for none.
    fingerprint: of the training data; an identity head that was trained on other data is re-initialised.
    position_resize: interpolation of a published position table to another grid.
    prefix: of the tensors to read, in a published file with several CLIPs.
    new_head: re-initialise an identity head in any case.

  Raises:
    UserError: what is loaded is damaged, or does not fit the model.
  """

  def initialize():
    return random_variables(model, key, num_identities)

  def initialize_rest():
    variables = initialize()
    return {"prompts": variables["prompts"], "id_head": variables["params"].get("id_head")}

  shapes = jax.eval_shape(initialize)
  shardings = sharding.tree_shardings(mesh, shapes)
  if source is None:
    return jax.jit(initialize, out_shardings=shardings)(), origin.of_random(seed)
  kind, path = source
  if kind == "checkpoint":
    step, loaded, metadata = best_checkpoint.restore(path, mesh)
    check_same_model(metadata, model.variant, path)
    keep_head = metadata["fingerprint"] == fingerprint and not new_head
    found = origin.of_checkpoint(path, step, metadata, loaded, mesh)
  else:
    weights = pretrained.open_weights(path, model.image_size, variant=model.variant, stride=model.stride, prefix=prefix)
    _, loaded = pretrained.read(weights, model.image_size, stride=model.stride, position_resize=position_resize)
    keep_head = False
    found = origin.of_weights(path, weights, prefix=weights.prefix, revision=weights.revision)
  # Compiled, so that the variables that are not needed are not computed.
  rest = jax.jit(
    initialize_rest, out_shardings={"prompts": shardings["prompts"], "id_head": shardings["params"].get("id_head")}
  )()
  return sharding.put_tree(_adopt(shapes, rest, loaded, path, keep_head, new_head), shardings), found


def _adopt(wanted, fresh, loaded, path, keep_head, new_head):
  """Returns the loaded variables, completed from `fresh`: only the prompts and the identity head may be missing.

  Raises:
    UserError: the result does not have the shapes of `wanted`.
  """
  loaded = {"params": dict(loaded["params"]), "prompts": loaded["prompts"]}
  head = loaded["params"].pop("id_head", None)
  if fresh["id_head"] is not None:
    if head is not None and keep_head and head["kernel"].shape == fresh["id_head"]["kernel"].shape:
      loaded["params"]["id_head"] = head
    else:
      loaded["params"]["id_head"] = fresh["id_head"]
      if head is not None:
        reason = "is replaced (new_head)" if new_head else "was trained on other identities"
        log_line(f"the identity head in {path} {reason}; it is re-initialised")
  if fresh["prompts"] and not loaded["prompts"]:
    log_line(f"{path} has no prompts; they are randomly initialised")
    loaded["prompts"] = fresh["prompts"]
  elif loaded["prompts"] and not fresh["prompts"]:
    log_line(f"the prompts in {path} are ignored: this stage uses none")
    loaded["prompts"] = {}
  shapes = [
    {path_string(key): leaf.shape for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    for tree in (wanted, loaded)
  ]
  wrong = [
    f"{name} is {shapes[1].get(name, 'missing')} in the checkpoint, {shapes[0].get(name, 'unknown')} in this model"
    for name in sorted(shapes[0].keys() | shapes[1].keys())
    if shapes[0].get(name) != shapes[1].get(name)
  ]
  if wrong:
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise UserError(f"the variables in {path} do not fit this model: {'; '.join(wrong[:3])}{more}")
  return loaded
