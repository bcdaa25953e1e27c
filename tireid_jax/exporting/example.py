"""Embeds images and captions with the encoders in this folder, and names the best image of each caption.

  pip install jax flatbuffers numpy pillow safetensors
  python use.py TOKENS.npy EMBEDDINGS.npz IMAGE [IMAGE ...]

TOKENS.npy holds i32[N, L], captions as CLIP's tokenizer gives them: start token, caption, end token, anything.
"""

import pathlib
import sys

import jax.export
import numpy as np
from PIL import Image
from safetensors.numpy import load_file

FOLDER = pathlib.Path(__file__).parent
TENSORS = {name: array for file in FOLDER.glob("*.safetensors") for name, array in load_file(file).items()}


def load(name):
  """Returns (encoder, shape of its inputs): images u8[B, h, w, 3] or tokens i32[B, L] -> f32[B, E], not normalised."""
  program = jax.export.deserialize(bytearray((FOLDER / f"{name}.stablehlo").read_bytes()))
  (wanted, inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
  weights, run = jax.device_put({key: TENSORS[key] for key in wanted}), jax.jit(program.call)
  return lambda batch: np.asarray(run(weights, batch)), inputs.shape


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


if __name__ == "__main__":
  tokens_file, embeddings_file, *image_files = sys.argv[1:]
  (encode_image, (_, height, width, _)), (encode_text, _) = load("image_encoder"), load("text_encoder")
  opened = (Image.open(path).convert("RGB") for path in image_files)
  images = np.stack([np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) for image in opened])
  image, text = encode_image(images), encode_text(np.load(tokens_file))
  np.savez(embeddings_file, image=image, text=text)
  for caption, row in enumerate(unit(text) @ unit(image).T):
    print(f"caption {caption}: {image_files[row.argmax()]} (cosine {row.max():.4f})")
