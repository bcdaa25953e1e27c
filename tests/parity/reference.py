"""The torch CLIPModel of transformers with the weights of `tests.models.parity`, and its outputs."""

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from tests.models.trees import hf_config

# The tests run in two processes on two cores.
torch.set_num_threads(1)


def clip_model(variant, tensors, *, end_token=None):
  """Returns a CLIPModel.

  Args:
    variant: Variant with a square native image size.
    tensors: {Hugging Face name: f32 array}, all tensors of the model.
    end_token: of the config, if not the variant's; 2, as in OpenAI's folders, means the highest id.
  """
  data = hf_config(variant)
  data["text_config"]["eos_token_id"] = variant.end_token if end_token is None else end_token
  model = CLIPModel(CLIPConfig.from_dict(data)).eval()
  model.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()})
  return model


@torch.no_grad()
def outputs(model, images, tokens, positions=None):
  """Returns the same outputs as `tests.models.parity.outputs`, computed by torch, as NumPy arrays.

  Args:
    model: CLIPModel.
    images: f32[B, h, w, 3].
    tokens: i32[B, L].
    positions: f32[1 + patches, D], position embeddings for another image size; None for the model's own.
  """
  pixels, ids = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(tokens).long()
  if positions is not None:
    table = torch.from_numpy(positions)[None]
    model.vision_model.embeddings.interpolate_pos_encoding = lambda embeddings, height, width: table
  found = {
    "image": model.get_image_features(
      pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=positions is not None
    ),
    "text": model.get_text_features(input_ids=ids, output_hidden_states=True),
  }
  end_token = model.config.text_config.eos_token_id
  ends = ids.argmax(-1) if end_token == 2 else (ids == end_token).int().argmax(-1)
  pooled = {"image": torch.zeros(len(pixels), dtype=torch.long), "text": ends}
  arrays: dict[str, np.ndarray] = {}
  for name, tower in found.items():
    arrays[name] = tower.pooler_output.numpy()
    # The first hidden states are the input of block 0.
    arrays[f"{name}_blocks"] = torch.stack(tower.hidden_states[1:-1]).numpy()
    arrays[f"{name}_last"] = tower.hidden_states[-1][torch.arange(len(pooled[name])), pooled[name]].numpy()
  return arrays
