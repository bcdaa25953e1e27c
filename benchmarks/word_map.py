"""How often the most relevant cell of a word's map lies in the part of the person that the word names, on ToyPEDES.

python -m benchmarks.word_map --workdir=demo/seed0/two_stages --raw=demo/raw [--split=val]

`make demo` writes both folders. Words are the kinds of garments and objects ("backpack", "shorts") in captions that
describe them correctly, and that the image shows. Chance is a cell drawn at random, so it hits a part by its area. The
maps of whole sentences, which do not depend on the word, show what a preference for the centre of the body gains.
"""

import json
import pathlib

import numpy as np
from absl import app, flags
from PIL import Image

from benchmarks.measuring import emit
from tireid_jax.data.prepared import images
from tireid_jax.data.toy import parts, words, write
from tireid_jax.data.toy.camera import SEEN_BY
from tireid_jax.data.toy.canvas import PART_NUMBERS
from tireid_jax.search import word_map
from tireid_jax.search.encoders import open_encoders

_NUM_RESAMPLES = 2000


def main(_):
  options = flags.FLAGS
  root = pathlib.Path(options.raw) / write.PEDES_FOLDER
  encoders = open_encoders(workdir=options.workdir, stage=options.stage)
  annotations = {entry["file_path"]: entry for entry in json.loads((root / write.ANNOTATIONS).read_text())}
  truths = json.loads((root / write.ATTRIBUTES).read_text())
  rows = []
  for path, labels in parts.part_maps(root, options.split):
    pixels = images.decode(root / write.IMAGES / path, encoders.image_size).pixels
    regions = word_map.embed_regions(encoders, pixels)
    for sentence, number, part in named_parts(annotations[path]["captions"], truths[path]):
      found = word_map.word_map(encoders, regions, sentence, number)
      whole = regions @ encoders.encode_sentences([sentence])[0]
      covered = cell_fractions(labels == PART_NUMBERS[part])
      rows.append((
        annotations[path]["id"], part, covered.flat[found.relevance.argmax()],
        covered.flat[word_map.cells_of(whole[0] - whole[1:]).argmax()], covered.mean(),
      ))  # fmt: skip
  person, part, hit, hit_of_sentence, chance = map(np.array, zip(*rows, strict=True))
  for name in ("all", *sorted(set(part))):
    chosen = np.flatnonzero((part == name) | (name == "all"))
    low, high = interval(hit[chosen], chance[chosen], person[chosen])
    emit(
      part=name, words=len(chosen), hit=hit[chosen].mean(), chance=chance[chosen].mean(),
      ratio=hit[chosen].mean() / chance[chosen].mean(), interval_95=[low, high],
      ratio_of_whole_sentences=hit_of_sentence[chosen].mean() / chance[chosen].mean(),
    )  # fmt: skip


def named_parts(captions, truth):
  """Yields (caption, number of a word, part) for each word that names the kind of something an image shows."""
  for caption, mentioned in zip(captions, truth["mentioned"], strict=True):
    tokens = [token.strip(".,;:").lower() for token in caption.split()]
    for attribute, (part, *_) in SEEN_BY.items():
      kind = mentioned.get(attribute)
      if kind is None or kind != truth["attributes"].get(attribute) or attribute not in truth["visible"]:
        continue
      nouns = {phrase.split()[-1] for phrase in words.KIND_WORDS.get(kind, ())}
      found = [number for number, token in enumerate(tokens) if token in nouns]
      if len(found) == 1:
        yield caption, found[0], part


def cell_fractions(mask):
  """Returns f64[ROWS, COLUMNS] the fraction of each cell that a mask bool[160, 64] covers."""
  size = (word_map.COLUMNS * 8, word_map.ROWS * 8)
  pixels = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) / 255
  return pixels.reshape(word_map.ROWS, 8, word_map.COLUMNS, 8).mean((1, 3))


def interval(hit, chance, person):
  """Returns the 95% interval of mean(hit) / mean(chance), by resampling persons."""
  rng, groups = np.random.default_rng(0), [np.flatnonzero(person == each) for each in np.unique(person)]
  sums = np.array([(hit[group].sum(), chance[group].sum()) for group in groups])
  drawn = sums[rng.integers(0, len(groups), (_NUM_RESAMPLES, len(groups)))].sum(axis=1)
  return np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5]).tolist()


if __name__ == "__main__":
  flags.DEFINE_string("workdir", "demo/seed0/two_stages", "workdir of a run")
  flags.DEFINE_string("stage", "2", "of the run")
  flags.DEFINE_string("raw", "demo/raw", "folder of ToyPEDES")
  flags.DEFINE_string("split", "test", "whose images are used")
  app.run(main)
