"""Tokenizer folders in the format of transformers' CLIPTokenizer, for tests."""

import json
import pathlib

from tireid_jax.data.text import byte_pairs

# The character that represents each byte in such files: the byte itself if printable, otherwise one from 256 on.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = [chr(byte) for byte in _PRINTABLE] + [chr(256 + index) for index in range(256 - len(_PRINTABLE))]

# Merges that produce the words "red" and "coat".
FEW_MERGES = ["r e", "re d</w>", "c o", "a t</w>", "co at</w>"]


SPECIALS = ("<|startoftext|>", "<|endoftext|>")


def make_tokenizer(folder, merges=FEW_MERGES):
  """Writes vocab.json and merges.txt, with the special tokens last, and returns {token: id}."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True)
  tokens = [*BYTES, *(byte + "</w>" for byte in BYTES), *(merge.replace(" ", "") for merge in merges), *SPECIALS]
  vocabulary = {token: index for index, token in enumerate(tokens)}
  (folder / "vocab.json").write_text(json.dumps(vocabulary))
  (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
  return vocabulary


def merges_of_clip():
  """Returns CLIP's own merges, as the lines of merges.txt."""
  return (
    (pathlib.Path(byte_pairs.__file__).parent / "clip" / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
  )
