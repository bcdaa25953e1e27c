"""A stage's compiled step and the layout of its state on a mesh: all of a run but its data and its weights."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tireid_jax.data.transforms import augment, augment_text
from tireid_jax.models.variants import Variant
from tireid_jax.parallel import sharding
from tireid_jax.storage import compilation_cache
from tireid_jax.training import accumulate, initialization, optimizers, stages
from tireid_jax.training.model import build_model
from tireid_jax.training.state import TrainState
from tireid_jax.training.train_step import make_loss, make_train_step


class Program:
  """What a stage computes, and on which mesh.

  Attributes:
    model: CLIP module.
    key: random key of the stage's first variables, from which each step derives its own.
    labels: of the variables, by `Stage.labels`.
    shapes: abstract TrainState, with the shardings below.
    shardings: TrainState of NamedSharding.
    compiler_options: of `jax.jit`, for everything that the run compiles.
    parameters: {"trainable_parameters", "total_parameters"}, counts of elements.
  """

  def __init__(
    self,
    config: ConfigDict,
    stage: stages.Stage,
    variant: Variant,
    mesh: Mesh,
    *,
    num_identities: int,
    steps_per_epoch: int,
  ) -> None:
    """Builds it; nothing is computed or compiled.

    Args:
      config: of the run.
      stage: Stage.
      variant: Variant of the model.
      mesh: Mesh; its devices need not exist.
      num_identities: of the training data: classes of the identity head, if one of the stage's losses has one.
      steps_per_epoch: of the learning rate schedule.
    """
    self._config, self._stage, self._mesh, self._steps_per_epoch = config, stage, mesh, steps_per_epoch
    self.model = build_model(
      config, variant, use_prompts=stage.use_prompts, precision=stage.precision,
      platform=sharding.platform(mesh), constrain=sharding.activation_constraint(mesh),
      gather=sharding.gather_weights(mesh),
    )  # fmt: skip
    self.compiler_options = compilation_cache.compiler_options(
      deterministic=config.deterministic, platform=sharding.platform(mesh)
    )
    self.key = jax.random.fold_in(jax.random.key(config.seed), stage.number)
    self.num_identities = num_identities if stage.uses_identities else 0
    variables = jax.eval_shape(lambda: initialization.random_variables(self.model, self.key, self.num_identities))
    self.labels = stage.labels(variables)
    self._optimizer = optimizers.make_optimizer(stage, self.labels, steps_per_epoch)
    shapes = jax.eval_shape(self._first_state, variables)
    self.shardings = sharding.tree_shardings(mesh, shapes)
    self.shapes = jax.tree.map(
      lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes, self.shardings
    )
    trained, total = stages.count_parameters(shapes.variables, self.labels)
    self.parameters = {"trainable_parameters": trained, "total_parameters": total}

  def all_finite(self) -> Callable[[Any], jax.Array]:
    """Returns the jitted variables -> bool[]: whether everything that is trained is finite."""

    def all_finite(variables):
      trained, _ = stages.partition(variables, self.labels)
      # 0 for a finite number and NaN for any other; on CPUs a third of the time that a reduction of isfinite takes.
      return jnp.isfinite(sum(jnp.sum(0 * leaf) for leaf in jax.tree.leaves(trained)))

    return jax.jit(all_finite, out_shardings=sharding.replicated(self._mesh))

  def first_state(self, variables: Any) -> TrainState:
    """Returns the TrainState of step 0 with these variables."""
    return jax.jit(self._first_state, out_shardings=self.shardings)(variables)

  def _first_state(self, variables):
    trained, _ = stages.partition(variables, self.labels)
    return TrainState(jnp.int32(0), variables, self._optimizer.init(trained))

  def described(self) -> dict[str, Any]:
    """Returns {"program": settings that, with the config and the variant, build the same program}, JSON data."""
    return {
      "program": {
        "num_identities": self.num_identities,
        "steps_per_epoch": self._steps_per_epoch,
        "precision": jnp.dtype(self.model.execution.dtype).name,
        "attention": self.model.execution.attention,
        "mesh": dict(self._mesh.shape),
        "platform": sharding.platform(self._mesh),
      }
    }

  def loss(self, model: Any = None, num_chunks: int | None = None) -> Callable:
    """Returns the stage's loss, as `make_loss` does.

    Args:
      model: any object with the `apply` method of the stage's model, which is the default.
      num_chunks: in which a batch is encoded; None for that of the stage's config.
    """
    stage = self._stage
    num_chunks = stage.num_chunks if num_chunks is None else num_chunks
    return make_loss(
      self.model if model is None else model,
      stage.active_losses,
      augment=functools.partial(augment.augment, **stage.augment),
      augment_text=functools.partial(augment_text.augment_text, **stage.augment_text),
      temperature=None if stage.learns_temperature else self._config.temperature,
      encode_batch=accumulate.in_chunks(num_chunks, sharding.batch_devices(self._mesh)),
    )

  def step(self) -> jax.stages.Wrapped:
    """Returns the jitted step(state, batch) -> (state, metrics); its state is donated."""
    return jax.jit(
      make_train_step(self.loss(), self._optimizer, self.labels, self.key),
      in_shardings=(self.shardings, sharding.batch_sharding(self._mesh)),
      out_shardings=(self.shardings, sharding.replicated(self._mesh)),
      donate_argnums=0,
      compiler_options=self.compiler_options,
    )
