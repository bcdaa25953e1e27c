"""The work of the public trainers per image and epoch, in worker processes, with numpy and PIL alone.

    python benchmarks/reference.py --images=FOLDER [--work=train|resize|alone]

train   decode, convert, resize, flip, pad and crop, normalise, erase; batches are passed to the main process
resize  decode, convert, resize; batches are passed to the main process
alone   the same, but the images are discarded

Batches are passed through shared memory that is already mapped, which is less work than in a real data loader. Prints
JSON.
"""

import argparse
import json
import math
import multiprocessing
import pathlib
import random
import time

import numpy as np
from PIL import Image

MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32).reshape(3, 1, 1)
STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32).reshape(3, 1, 1)
HEIGHT, WIDTH = 384, 128
PAD = 10

# Finished batches per worker that may wait for the main process.
NUM_SLOTS = 2


def resized(file):
  """Returns the PIL image of a file at HEIGHT x WIDTH."""
  return Image.open(file).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def augmented(file):
  """Returns f32[3, h, w]: resized, flipped, padded and cropped, normalised, with a rectangle erased."""
  image = resized(file)
  if random.random() < 0.5:
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  padded = Image.new("RGB", (WIDTH + 2 * PAD, HEIGHT + 2 * PAD))
  padded.paste(image, (PAD, PAD))
  left, top = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
  pixels = np.asarray(padded.crop((left, top, left + WIDTH, top + HEIGHT))).transpose(2, 0, 1)
  pixels = (np.ascontiguousarray(pixels).astype(np.float32) / np.float32(255) - MEAN) / STD
  if random.random() < 0.5:
    erase(pixels)
  return pixels


def erase(pixels):
  """Fills a random rectangle with the channel means."""
  for _ in range(10):
    area = HEIGHT * WIDTH * random.uniform(0.02, 0.4)
    aspect = math.exp(random.uniform(math.log(0.3), math.log(3.3)))
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if height < HEIGHT and width < WIDTH:
      top, left = random.randint(0, HEIGHT - height), random.randint(0, WIDTH - width)
      pixels[:, top : top + height, left : left + width] = MEAN
      return


def worker(batches, work, slots, free, filled):
  """Writes each batch of files into the next free slot."""
  for number, files in enumerate(batches):
    free.acquire()
    slot = slots[number % NUM_SLOTS]
    for index, file in enumerate(files):
      if work == "train":
        slot[index] = augmented(file)
      elif work == "resize":
        slot[index] = np.asarray(resized(file))
      else:
        resized(file)
    filled.release()


def epoch(files, work, *, batch_size=64, num_workers=2):
  """Returns the images per second of one shuffled epoch."""
  files = random.sample(files, len(files))
  batches = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
  context = multiprocessing.get_context("fork")
  shape = (NUM_SLOTS, batch_size, 3, HEIGHT, WIDTH) if work == "train" else (NUM_SLOTS, batch_size, HEIGHT, WIDTH, 3)
  dtype = np.float32 if work == "train" else np.uint8
  workers = []
  for index in range(num_workers):
    memory = context.RawArray("b", int(np.prod(shape)) * np.dtype(dtype).itemsize)
    slots = np.frombuffer(memory, dtype).reshape(shape)
    slots[:] = 0
    free, filled = context.Semaphore(NUM_SLOTS), context.Semaphore(0)
    process = context.Process(target=worker, args=(batches[index::num_workers], work, slots, free, filled), daemon=True)
    workers.append((process, free, filled))
  began = time.perf_counter()
  for process, _, _ in workers:
    process.start()
  for number in range(len(batches)):
    _, free, filled = workers[number % num_workers]
    filled.acquire()
    free.release()
  seconds = time.perf_counter() - began
  for process, _, _ in workers:
    process.join()
  return len(files) / seconds


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--images", required=True, help="folder of JPEG files")
  parser.add_argument("--work", choices=("train", "resize", "alone"), default="train")
  args = parser.parse_args()
  files = sorted(pathlib.Path(args.images).glob("*.jpg"))
  for file in files:
    file.read_bytes()  # into the page cache
  print(json.dumps({"work": args.work, "images": len(files), "images_per_s": epoch(files, args.work)}))


if __name__ == "__main__":
  main()
