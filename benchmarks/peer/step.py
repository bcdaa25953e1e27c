"""Seconds of one training step of the peer: forward, SDM + ID loss, backward, Adam.

IRRA_DIR=... python step.py --batch-size 8
IRRA_DIR=... python step.py --batch-size 8 --trainable image-prompts
"""

import argparse
import sys

import irra
import report
import synth
import torch


def batch_of(size, classes, seed, max_tokens, resolution=irra.VIT_B_16["image_resolution"]):
  """Random pixels, captions of realistic length, random ids, as in a shuffled batch of the peer."""
  torch.manual_seed(seed)
  ids = torch.randint(0, classes, (size,))
  return {
    "images": torch.randn(size, 3, *resolution),
    "caption_ids": irra.tokens(synth.captions(size, seed), max_tokens=max_tokens),
    "pids": ids,
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--batch-size", type=int, default=8)
  parser.add_argument(
    "--trainable",
    choices=["all", "image-prompts"],
    default="all",
    help="image-prompts: all weights frozen, learnable tokens in both encoders at layer 0",
  )
  parser.add_argument("--prompts", type=int, default=8, help="learnable tokens per encoder, for image-prompts")
  parser.add_argument("--train-classifier", action="store_true", help="image-prompts: also train the ID classifier")
  parser.add_argument("--losses", default="sdm+id", help="the peer's loss names: sdm, id, itc, cmpm joined by +")
  parser.add_argument("--classes", type=int, default=irra.CLASSES)
  parser.add_argument("--autocast", action="store_true", help="forward pass under torch.autocast in bfloat16")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument(
    "--warmup", type=int, default=3, help="steps that are not timed; the first three are slow at every size"
  )
  parser.add_argument("--steps", type=int, default=5)
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args()
  if args.warmup < 1 or args.steps < 1:
    parser.error("at least one warm-up and one timed step")

  torch.set_num_threads(args.threads)
  load = report.machine()
  net, peer_args = irra.build(args.losses, args.classes, seed=args.seed)
  prompted = args.trainable == "image-prompts"
  if prompted:
    irra.add_prompts(net, args.prompts, args.train_classifier)
  adam = irra.optimizer(net, peer_args)
  length = irra.VIT_B_16["context_length"]
  batch = batch_of(args.batch_size, args.classes, args.seed, length - args.prompts if prompted else length)
  net.train()

  trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
  times = {"step": [], "forward": [], "backward": [], "update": []}
  for turn in range(args.warmup + args.steps):
    with report.Clock() as step:
      with report.Clock() as forward:
        with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
          returned = net(batch)
        loss = sum(value for name, value in returned.items() if "loss" in name)
        value = loss.item()
      with report.Clock() as backward:
        adam.zero_grad()
        loss.backward()
      with report.Clock() as update:
        adam.step()
    print(f"step {turn}: {step.seconds:.2f} s, loss {value:.4f}", file=sys.stderr)
    if turn >= args.warmup:
      for name, clock in (("step", step), ("forward", forward), ("backward", backward), ("update", update)):
        times[name].append(clock.seconds)

  whole = report.spread(times["step"])
  report.emit(
    {
      "bench": "step",
      "system": "irra",
      "torch": torch.__version__,
      "trainable": args.trainable,
      "batch_size": args.batch_size,
      "threads": args.threads,
      "losses": args.losses,
      "autocast": args.autocast,
      "classes": args.classes,
      "warmup": args.warmup,
      **whole,
      "examples_per_s": round(args.batch_size / whole["median_s"], 3),
      "forward_s": report.spread(times["forward"])["median_s"],
      "backward_s": report.spread(times["backward"])["median_s"],
      "update_s": report.spread(times["update"])["median_s"],
      "peak_rss_mib": round(report.peak_mib()),
      "parameters": sum(parameter.numel() for parameter in net.parameters()),
      "trained_parameters": sum(parameter.numel() for parameter in trained),
      "steps_s": [round(seconds, 3) for seconds in times["step"]],
      "last_loss": value,
      **load,
    }
  )


if __name__ == "__main__":
  main()
