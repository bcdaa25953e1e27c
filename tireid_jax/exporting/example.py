"""Embeds images and captions with the encoders in this folder and prints the best image for each caption.

  pip install jax flatbuffers numpy pillow safetensors
  python use.py TOKENS.npy EMBEDDINGS.npz IMAGE [IMAGE ...]

TOKENS.npy holds i32[N, L], captions tokenized by CLIP's tokenizer: start token, caption, end token, any padding.
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
  """Returns (encoder, shape of its inputs).

  The encoder maps images u8[B, h, w, 3] or tokens i32[B, L] to embeddings f32[B, E], not normalised.
  """
  program = jax.export.deserialize(bytearray((FOLDER / f"{name}.stablehlo").read_bytes()))
  (wanted, inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
  weights, run = jax.device_put({key: TENSORS[key] for key in wanted}), jax.jit(program.call)
  return lambda batch: np.asarray(run(weights, batch)), inputs.shape


def normalise(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


if __name__ == "__main__":
  tokens_file, embeddings_file, *image_files = sys.argv[1:]
  (encode_image, (_, height, width, _)), (encode_text, _) = load("image_encoder"), load("text_encoder")
  opened = (Image.open(path).convert("RGB") for path in image_files)
  images = np.stack([np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) for image in opened])
  image, text = encode_image(images), encode_text(np.load(tokens_file))
  np.savez(embeddings_file, image=image, text=text)
  for caption, cosine in enumerate(normalise(text) @ normalise(image).T):
    print(f"caption {caption}: {image_files[cosine.argmax()]} (cosine {cosine.max():.4f})")
