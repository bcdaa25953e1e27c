"""One training step, a pure function: everything is decided before it is traced."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tireid_jax import losses
from tireid_jax.training import accumulate
from tireid_jax.training.stages import FROZEN, combine, partition
from tireid_jax.training.state import TrainState


def make_loss(
  model: Any,
  loss_weights: Mapping[str, float],
  *,
  augment: Callable,
  augment_text: Callable,
  temperature: float | None,
  encode_batch: Callable = accumulate.at_once,
) -> Callable:
  """Returns loss(trained, frozen, batch, key) -> (f32[], {term: f32[]}).

  A batch has {"images" u8[I, h, w, 3], "tokens" i32[B, L], "person_id" i32[B]}, where image i belongs to the B / I
  captions from i * B / I on. Its embedding is computed once and repeated, so the losses are those of B pairs.

  Args:
    model: CLIP module.
    loss_weights: {name in LOSSES: weight} of the losses that are computed.
    augment: (key, images u8[I, h, w, 3], indices i32[I]) -> f32[I, h, w, 3] normalised. The randomness of image i
      derives from `key` and indices[i] alone, as that of dropout does.
    augment_text: (key, tokens i32[B, L], indices i32[B]) -> i32[B, L], likewise.
    temperature: of the losses; None for the learned logit_scale.
    encode_batch: (encode, inputs) -> encode(inputs), possibly in chunks, from `accumulate`.
  """
  losses.check_names(loss_weights)

  def loss(trained, frozen, batch, key):
    variables = combine(trained, frozen)
    augment_key, dropout_key = jax.random.split(key)
    # Not split in three, which would change the other two keys.
    text_key = jax.random.fold_in(key, 2)

    def encode(inputs):
      indices = {"image_indices": inputs["image_indices"], "text_indices": inputs["text_indices"]}
      images = augment(augment_key, inputs["images"], indices["image_indices"])
      tokens = augment_text(text_key, inputs["tokens"], indices["text_indices"])
      return model.apply(variables, images, tokens, **indices, rngs={"dropout": dropout_key})

    image, text = encode_batch(
      encode,
      {
        "images": batch["images"], "image_indices": jnp.arange(len(batch["images"])),
        "tokens": batch["tokens"], "text_indices": jnp.arange(len(batch["tokens"])),
      },
    )  # [I, E], [B, E]  # fmt: skip
    image = jnp.repeat(image, len(text) // len(image), axis=0)  # [B, E], once for each caption of the image
    params = variables["params"]
    pair = {
      "image": image,
      "text": text,
      "person_id": batch["person_id"],
      "temperature": jnp.exp(-params["logit_scale"]) if temperature is None else temperature,
      "id_head": params.get("id_head"),
    }
    terms = {name: losses.LOSSES[name].compute(pair) for name in loss_weights}
    return sum(weight * terms[name] for name, weight in loss_weights.items()), terms

  return loss


def make_train_step(
  loss: Callable, optimizer: optax.GradientTransformation, labels: Any, run_key: jax.Array
) -> Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
  """Returns step(state, batch) -> (state, metrics), to be jitted with a donated state.

  Only the trained leaves are differentiated. Augmentation and dropout follow from `run_key` and the step's number.

  Args:
    loss: from `make_loss`.
    optimizer: from `optimizers.make_optimizer`.
    labels: from `Stage.labels`.
    run_key: from which each step's key for augmentation and dropout follows.
  """
  groups = sorted(set(jax.tree.leaves(labels)) - {FROZEN})

  def train_step(state, batch):
    key = jax.random.fold_in(run_key, state.step)
    trained, frozen = partition(state.variables, labels)
    (total, terms), gradients = jax.value_and_grad(loss, has_aux=True)(trained, frozen, batch, key)
    # Profiles and plans report the cost under this name.
    with jax.named_scope("optimizer"):
      updates, optimizer_state = optimizer.update(gradients, state.optimizer, trained)
      variables = combine(optax.apply_updates(trained, updates), frozen)
    metrics = {"loss/total": total, **{f"loss/{name}": value for name, value in terms.items()}}
    for group in groups:
      leaves = jax.tree.map(lambda label, g, group=group: g if label == group else None, labels, gradients)
      metrics[f"gradient_norm/{group}"] = optax.tree.norm(leaves)
    return TrainState(state.step + 1, variables, optimizer_state), metrics

  return train_step
