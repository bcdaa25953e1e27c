"""Adding a prompt placement changes one file. Here, prompts precede the class token and the start token."""

import json

from tests.additions.copying import Copy

PLACEMENT = '''

@flax.struct.dataclass
class FrontPrompts(DeepPrompts):
  """Prompts at positions 0..P-1, in front of the class or start token, replaced at each prompted block."""

  @classmethod
  def insert(cls, x, position, tokens, num_blocks):
    depth, _, num_tokens, width = tokens.shape
    x = jnp.pad(x, [(0, 0), (num_tokens, 0), (0, 0)])  # [B, P + L, D]
    padded = jnp.pad(tokens, [(0, num_blocks - depth)] + [(0, 0)] * 3)
    return x, position + num_tokens, cls(padded, jnp.arange(num_blocks) < depth)

  def enter(self, x):
    num_tokens = self.tokens.shape[1]
    front = jnp.where(self.is_prompted, self.tokens.astype(x.dtype), x[:, :num_tokens])
    return jnp.concatenate([front, x[:, num_tokens:]], axis=1)


PLACEMENTS: dict[str, type[DeepPrompts]] = {"deep": DeepPrompts, "front": FrontPrompts}
'''
# The config selects the placement; the position of the end token, at which text is pooled, must be shifted.
GRADIENT = """
import json
import jax, jax.numpy as jnp
from tireid_jax.configs import cuhk
from tireid_jax.models import variants
from tireid_jax.models.clip import init_variables
from tireid_jax.training.model import build_model

config = cuhk.get_config()
config.data.image_size = (48, 24)
config.prompts.update(placement="front", depth=2, init_std=0.5)
variant = variants.VARIANTS["tiny"]
images = jax.random.normal(jax.random.key(1), (2, 48, 24, 3))
tokens = jnp.array([[49406, 5, 6, 7, 49407, 0], [49406, 8, 49407, 0, 0, 0]])

def of(**changes):
  config.prompts.update(changes)
  return build_model(config, variant, use_prompts=True, precision="float32")

def embed(model, variables):
  return jax.jit(model.apply)(variables, images, tokens)

model = of()
variables = jax.jit(init_variables, static_argnums=0)(model, jax.random.key(0))
gradient = jax.jit(jax.grad(
  lambda prompts: sum(jnp.sum(x**2) for x in model.apply({**variables, "prompts": prompts}, images, tokens))
))(variables["prompts"])
front, deep = embed(model, variables), embed(of(placement="deep"), variables)
plain = embed(of(image_length=0, text_length=0), {"params": variables["params"]})
print(json.dumps({
  "least": [float(jnp.abs(leaf).max(-1).min()) for leaf in jax.tree.leaves(gradient)],
  "from deep": [float(jnp.abs(a - b).max()) for a, b in zip(front, deep)],
  "from plain": [float(jnp.abs(a - b).max()) for a, b in zip(front, plain)],
}))
"""


def test_a_prompt_placement_is_added_in_one_file_and_has_gradients(tmp_path):
  copy = Copy(tmp_path)
  copy.edit(
    "tireid_jax/models/prompts.py",
    ('\n\nPLACEMENTS: dict[str, type[DeepPrompts]] = {"deep": DeepPrompts}\n', PLACEMENT),
  )
  assert copy.changed_files() == ["tireid_jax/models/prompts.py"]
  found = json.loads(copy.python(GRADIENT))
  assert min(found["least"]) > 0, "a prompt token of some block has no gradient"
  assert min(found["from plain"]) > 1e-3
  # The image encoder's attention is invariant to the order of tokens, so both placements agree. The text encoder has a
  # causal mask: its start token attends to prompts in front of it, but not to deep prompts, which follow it.
  assert found["from deep"][0] < 1e-4
  assert found["from deep"][1] > 1e-3
