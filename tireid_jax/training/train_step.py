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
  encode_rows: Callable = accumulate.at_once,
) -> Callable:
  """Returns loss(trained, frozen, batch, key) -> (f32[], {term: f32[]}).

  A batch has {"images" u8[I, h, w, 3], "tokens" i32[B, L], "person_id" i32[B]}, where image i belongs to the B / I
  captions from i * B / I on. Its embedding is computed once and repeated, so the losses are those of B pairs.

  Args:
    model: CLIP module.
    loss_weights: {name in LOSSES: weight} of the losses that are computed.
    augment: (key, images u8[I, h, w, 3], rows i32[I]) -> f32[I, h, w, 3] normalised. Randomness of image
      i derives from `key` and rows[i] alone, as that of dropout does.
    augment_text: (key, tokens i32[B, L], rows i32[B]) -> i32[B, L], likewise.
    temperature: of the losses; None for the learned logit_scale.
    encode_rows: (encode, inputs) -> encode(inputs), possibly in chunks, from `accumulate`.
  """
  losses.check_names(loss_weights)

  def loss(trained, frozen, batch, key):
    variables = combine(trained, frozen)
    augment_key, dropout_key = jax.random.split(key)
    # Not split in three, which would change the other two keys.
    text_key = jax.random.fold_in(key, 2)

    def encode(inputs):
      rows = {"image_rows": inputs["image_rows"], "text_rows": inputs["text_rows"]}
      images = augment(augment_key, inputs["images"], rows["image_rows"])
      tokens = augment_text(text_key, inputs["tokens"], rows["text_rows"])
      return model.apply(variables, images, tokens, **rows, rngs={"dropout": dropout_key})

    image, text = encode_rows(
      encode,
      {
        "images": batch["images"], "image_rows": jnp.arange(len(batch["images"])),
        "tokens": batch["tokens"], "text_rows": jnp.arange(len(batch["tokens"])),
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
