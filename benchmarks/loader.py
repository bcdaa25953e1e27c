"""Data: preparing and reading, against what the public trainers do to each image in each epoch.

    python benchmarks/loader.py [--images=1000] [--rounds=3] [--folder=DIR] [--json=FILE]

It measures, at 384x128 and in batches of 64:

- the reference's work (reference.py): from JPEG files in the page cache to batches in shared memory, in two worker
  processes; images per second of one epoch, including the start of the workers.
- preparation: `prepare.prepare`, from the raw files to the data set on disk.
- reading: `loader.Batches` over the records of the prepared data set (no images in memory), until each batch is in
  device memory, without the first epoch. With augmentation: until the jitted `augment` of the batch is done.
- time per batch: the same reading of 48x16 images without the copy to the device, by the size of the data set.
- cold: one epoch of reading after the records were evicted from the page cache.

Every round times each of them once, in turn. The table shows medians over rounds, and a ratio is the median of the
rounds' ratios. The JPEG files have 50x130 to 400x900 pixels (log-uniform widths), quality 90 and the spectrum of
photographs.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from array_record.python import array_record_module
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from configs import common
from tireid_jax.data import loader, prepare
from tireid_jax.data.permutation import permutation
from tireid_jax.data.prepared import record_bytes, split_files, splits
from tireid_jax.data.transforms import augment

BATCH_SIZE = 64
SIZE = (384, 128)
SMALL_SIZE = (48, 16)
NUM_SMALL_IMAGES = (2_000, 20_000, 200_000)
NUM_BATCHES = 100
AUGMENTATION = common.base_config().stage2.augment.to_dict()


def make_raw(folder, num_images):
  """Writes a raw CUHK-PEDES of `num_images` JPEG files, reusing existing ones, and returns their folder."""
  root = folder / "CUHK-PEDES"
  images = root / "imgs"
  images.mkdir(parents=True, exist_ok=True)
  entries = []
  for number in range(num_images):
    name = f"{number:05d}.jpg"
    if not (images / name).exists():
      _photograph(np.random.default_rng(number)).save(images / name, quality=90)
    captions = ["A man in a red coat and black trousers, with a bag over his left shoulder.", "He is walking away."]
    entries.append({"split": "train", "captions": captions, "file_path": name, "id": number // 4 + 1})
  (root / "reid_raw.json").write_text(json.dumps(entries))
  return images


def _photograph(rng):
  """Returns an image of random size whose spectrum falls off about as that of a photograph."""
  width = round(np.exp(rng.uniform(np.log(50), np.log(400))))
  height = int(np.clip(round(width * rng.uniform(2.0, 2.8)), 130, 900))
  pixels = rng.normal(112, 6, (height, width, 3)).astype(np.float32)
  for cell in (96, 48, 24, 12, 6, 3):
    coarse = rng.normal(0, 3.5 * cell**0.5, (height // cell + 2, width // cell + 2)).astype(np.float32)
    pixels += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))[:, :, None]
  return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def reference(images, work):
  """Returns the images per second of the reference's work, in a process without JAX."""
  command = [
    sys.executable,
    str(pathlib.Path(__file__).with_name("reference.py")),
    f"--images={images}",
    f"--work={work}",
  ]
  return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["images_per_s"]


def preparation(raw, data_dir, num_images):
  """Returns the images per second of preparation."""
  began = time.perf_counter()
  prepare.prepare("cuhk_pedes", raw, data_dir, SIZE, show_progress=False)
  return num_images / (time.perf_counter() - began)


def reading(split, use):
  """Returns the images per second of reading training batches and passing them to `use`, without the first epoch."""
  with loader.Batches(split, BATCH_SIZE, seed=0, caption_lengths=(77,)) as batches:
    use(0, batches(0))
    first = batches.steps_per_epoch
    use(first, batches(first))
    began = time.perf_counter()
    for step in range(first + 1, first + 1 + NUM_BATCHES):
      use(step, batches(step))
    return NUM_BATCHES * BATCH_SIZE / (time.perf_counter() - began)


def to_device(step, batch):
  """Puts a batch's images into device memory."""
  del step
  jax.block_until_ready(jax.device_put(batch["images"]))


@jax.jit
def _augment(step, images):
  return augment.augment(jax.random.fold_in(jax.random.key(0), step), images, **AUGMENTATION)


def to_step(step, batch):
  """Augments a batch's images, as a training step does."""
  jax.block_until_ready(_augment(step, batch["images"]))


def small_split(folder, num_images):
  """Returns a Split of random 48x16 images, stored as records in one file."""
  num_bytes = SMALL_SIZE[0] * SMALL_SIZE[1] * 3
  file, positions = folder / f"small_{num_images}.array_record", []
  pixels = np.random.default_rng(0).bytes(num_images * num_bytes)
  records = [pixels[start : start + num_bytes] for start in range(0, len(pixels), num_bytes)]
  writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1,uncompressed")
  for record in records:
    writer.write(record)
  writer.close()
  positions = np.array(record_bytes.find_tails(file, records, num_bytes))
  indices = np.arange(num_images, dtype=np.int32)
  return splits.Split(
    name="small",
    split="train",
    images=split_files.RecordImages(
      record_bytes.RecordBytes([file], num_bytes), np.zeros(num_images, int), positions, SMALL_SIZE
    ),
    person_id=indices,
    labels=indices,
    num_identities=num_images,
    tokens=np.ones((num_images, 77), np.int32),
    caption_image=indices,
    captions=[""] * num_images,
    file_paths=[""] * num_images,
    fingerprint="",
  )


def batch_cost(split):
  """Returns the median time to read a batch, in microseconds."""
  with loader.Batches(split, BATCH_SIZE, seed=0, caption_lengths=(77,), read_ahead=0) as batches:
    microseconds = []
    for step in range(min(NUM_BATCHES * 4, batches.steps_per_epoch)):
      began = time.perf_counter()
      batches(step)
      microseconds.append(1e6 * (time.perf_counter() - began))
  return float(np.median(microseconds))


def cold(split, folder):
  """Returns (images per second of one shuffled epoch, fraction of the records that was read from the disk)."""
  os.sync()
  for file in folder.glob("*.array_record*"):
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
  order = permutation(len(split.images), 0, 0)
  began = time.perf_counter()
  for start in range(0, len(order), BATCH_SIZE):
    jax.block_until_ready(jax.device_put(split.images[order[start : start + BATCH_SIZE]]))
  seconds = time.perf_counter() - began
  read = 512 * (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before)
  return len(order) / seconds, min(1.0, read / split.images.nbytes)


def anonymous_mib():
  """Returns the anonymous memory (not file-backed) of this process, MiB."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 2**10


def measure(folder, data_dir, num_images, num_rounds):
  """Returns {name: value} of all measurements; raw files go to `folder`, prepared ones to `data_dir`."""
  images = make_raw(folder / "raw", num_images)
  rounds = {name: [] for name in ("train", "resize", "alone", "prepare", "read", "augment")}
  for turn in range(num_rounds):
    for work in ("train", "resize", "alone"):
      rounds[work].append(reference(images, work))
    before = anonymous_mib()
    rounds["prepare"].append(preparation(folder / "raw", data_dir / str(turn), num_images))
    if turn == 0:
      memory = {"prepare_mib": anonymous_mib() - before}
    split = splits.open_split(data_dir / str(turn), "cuhk_pedes", SIZE, "train", in_memory_bytes=0)
    before = anonymous_mib()
    rounds["read"].append(reading(split, to_device))
    if turn == 0:
      memory["read_mib"] = anonymous_mib() - before
    rounds["augment"].append(reading(split, to_step))
  results = {f"{name}_images_per_s": float(np.median(values)) for name, values in rounds.items()}
  for name, mine, theirs in (
    ("read", "read", "train"),
    ("augment", "augment", "train"),
    ("prepare_handed_over", "prepare", "resize"),
    ("prepare_alone", "prepare", "alone"),
  ):
    results[f"{name}_ratio"] = float(np.median(np.divide(rounds[mine], rounds[theirs])))
  results["cold_images_per_s"], results["cold_fraction"] = cold(
    split, splits.prepared_path(data_dir / str(turn), "cuhk_pedes", SIZE)
  )
  for number in NUM_SMALL_IMAGES:
    results[f"batch_us_of_{number}"] = batch_cost(small_split(data_dir, number))
  sizes = [Image.open(file).size for file in sorted(images.glob("*.jpg"))[:num_images]]
  return {
    **results,
    **memory,
    "images": num_images,
    "median_width": float(np.median([width for width, _ in sizes])),
    "median_height": float(np.median([height for _, height in sizes])),
    "device": jax.devices()[0].device_kind,
    "cores": os.cpu_count(),
    "load": os.getloadavg()[0],
  }


def table(results):
  """Returns the results as a text table."""
  lines = [f"{'':52}{'images/s':>10}{'ratio':>8}{'target':>8}"]

  def line(text, name, ratio="", target=""):
    shown = f"{results[ratio]:.2f}" if ratio else ""
    lines.append(f"{text:52}{results[name]:>10,.0f}{shown:>8}{target:>8}")

  line("reference, train (2 workers)", "train_images_per_s")
  line("reading into device memory", "read_images_per_s", "read_ratio", "10")
  line("reading and augmentation", "augment_images_per_s", "augment_ratio", "4")
  line("reading into device memory, cold page cache", "cold_images_per_s")
  line("reference, decode and resize, handed over", "resize_images_per_s")
  line("preparation", "prepare_images_per_s", "prepare_handed_over_ratio", "1.3")
  line("reference, decode and resize alone", "alone_images_per_s")
  line("preparation", "prepare_images_per_s", "prepare_alone_ratio", "1.3")
  for number in NUM_SMALL_IMAGES:
    lines.append(f"{f'batch of 64 of {number:,} images of 48x16':52}{results[f'batch_us_of_{number}']:>10,.0f} us")
  lines.append(
    f"{results['images']:,} JPEG files, median {results['median_height']:.0f}x{results['median_width']:.0f}; "
    f"{results['cores']} cores, load {results['load']:.1f}, device {results['device']}"
  )
  lines.append(
    f"anonymous memory: {results['prepare_mib']:,.0f} MiB more after preparation, {results['read_mib']:,.0f} after "
    f"reading; {100 * results['cold_fraction']:.0f}% of the cold epoch was read from the disk"
  )
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--images", type=int, default=1000, help="number of JPEG files")
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--folder", type=pathlib.Path, help="folder for the raw files, which the next run reuses")
  parser.add_argument("--json", type=pathlib.Path, help="file for the results")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
    data_dir = pathlib.Path(temporary)
    results = measure(args.folder or data_dir, data_dir, args.images, args.rounds)
  print(table(results))
  if args.json:
    args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
  main()
