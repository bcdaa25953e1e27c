"""Images/s and captions/s of the peer's encoders: eval mode, no gradients, fp32.

IRRA_DIR=... python encode.py --batch-size 32
"""

import argparse
import sys

import irra
import report
import synth
import torch


def timed(encode, batches, warmup):
  seconds = []
  for turn, batch in enumerate(batches):
    with report.Clock() as clock, torch.no_grad():
      features = encode(batch)
    print(f"batch {turn}: {clock.seconds:.3f} s, features {tuple(features.shape)}", file=sys.stderr)
    if turn >= warmup:
      seconds.append(clock.seconds)
  return report.spread(seconds)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--batch-size", type=int, default=32)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--warmup", type=int, default=1)
  parser.add_argument("--batches", type=int, default=5)
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args()

  torch.set_num_threads(args.threads)
  load = report.machine()
  net, _ = irra.build("sdm", seed=args.seed)
  net.eval()
  turns = args.warmup + args.batches
  torch.manual_seed(args.seed)
  images = [torch.randn(args.batch_size, 3, *irra.VIT_B_16["image_resolution"]) for _ in range(turns)]
  texts = irra.tokens(synth.captions(args.batch_size * turns, args.seed)).split(args.batch_size)
  image = timed(net.encode_image, images, args.warmup)
  text = timed(net.encode_text, texts, args.warmup)
  lengths = torch.cat(texts).argmax(-1) + 1
  report.emit(
    {
      "bench": "encode",
      "system": "irra",
      "torch": torch.__version__,
      "batch_size": args.batch_size,
      "threads": args.threads,
      "warmup": args.warmup,
      "images_per_s": round(args.batch_size / image["median_s"], 2),
      "image_batch": image,
      "captions_per_s": round(args.batch_size / text["median_s"], 2),
      "text_batch": text,
      "mean_tokens": round(lengths.float().mean().item(), 1),
      "peak_rss_mib": round(report.peak_mib()),
      **load,
    }
  )


if __name__ == "__main__":
  main()
