"""Milliseconds of one training step of the peer on a GPU: as published, or in the fastest form its users could run.

IRRA_DIR=... python gpu_step.py --form strongest --batch-size 64

published: encoder weights in half precision, as the peer's own builder converts them, its Adam, and the loss read in
each step, as in its loop. strongest: float32 weights under bfloat16 autocast, scaled_dot_product_attention with the
causal flag instead of the peer's mask, torch.compile, and fused Adam with the peer's learning rates in as few groups as
possible. The batch is on the GPU, without augmentation. Prints a line of JSON.
"""

import argparse
import sys
import time
import types

import irra
import report
import step as step_script
import torch
import torch.nn.functional as F

WARM_UP, WINDOWS, WINDOW_S = 3, 3, 0.7


def use_fused_attention(net, is_causal_of):
  """Gives each block of the peer's transformers an attention by scaled_dot_product_attention, with its own weights.

  Args:
    net: the peer's model.
    is_causal_of: {transformer: whether its mask is causal}.
  """

  def attention(block, x, is_causal):
    length, batch, width = x.shape  # the peer has tokens first
    heads = block.attn.num_heads
    qkv = F.linear(x, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = qkv.view(length, batch, 3, heads, width // heads).permute(2, 1, 3, 0, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    return block.attn.out_proj(mixed.permute(2, 0, 1, 3).reshape(length, batch, width))

  for transformer, is_causal in is_causal_of.items():
    for block in transformer.resblocks:
      block.attention = types.MethodType(lambda self, x, c=is_causal: attention(self, x, c), block)


def fused_adam(adam):
  """The peer's Adam, fused, with one parameter group per learning rate and decay instead of one per tensor."""
  groups = {}
  for group in adam.param_groups:
    groups.setdefault((group["lr"], group["weight_decay"]), []).extend(group["params"])
  given = [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]
  return torch.optim.Adam(given, betas=adam.defaults["betas"], eps=adam.defaults["eps"], fused=True)


def build(args):
  """Returns (model, optimizer, forward) on the device; forward(batch) gives the peer's dictionary of losses."""
  config, published = irra.VARIANTS[args.variant], args.form == "published"
  losses = "sdm+id" if args.stage == 2 else "sdm"
  net, options = irra.build(losses, args.classes, config, args.seed, published)
  if args.stage == 1:
    irra.add_prompts(net, args.prompts)
  net.to(args.device).train()
  with irra.quiet():
    adam = irra.optimizer(net, options)
  if published:
    return net, adam, net
  base = net.base_model
  use_fused_attention(net, {base.visual.transformer: False, base.transformer: True})
  torch.set_float32_matmul_precision("high")
  compiled = torch.compile(net) if args.compile else net

  def forward(batch):
    with torch.autocast(args.device, dtype=torch.bfloat16):
      return compiled(batch)

  return net, fused_adam(adam), forward


def make_batch(args):
  """Random pixels and ids, captions of realistic length, on the device."""
  config = irra.VARIANTS[args.variant]
  length = config["context_length"]
  max_tokens = length - args.prompts if args.stage == 1 else length
  batch = step_script.batch_of(args.batch_size, args.classes, args.seed, max_tokens, config["image_resolution"])
  return {name: value.to(args.device) for name, value in batch.items()}


def synchronize(device):
  if device == "cuda":
    torch.cuda.synchronize()


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--form", choices=["strongest", "published"], default="strongest")
  parser.add_argument("--variant", choices=list(irra.VARIANTS), default="ViT-B/16")
  parser.add_argument("--stage", type=int, choices=[1, 2], default=2, help="1: frozen weights, learnable tokens")
  parser.add_argument("--batch-size", type=int, default=64)
  parser.add_argument("--prompts", type=int, default=8, help="learnable tokens per encoder, in stage 1")
  parser.add_argument("--classes", type=int, default=irra.CLASSES)
  parser.add_argument("--device", default="cuda")
  parser.add_argument("--compile", type=int, default=1, help="0: without torch.compile")
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args()
  if args.device == "cuda" and not torch.cuda.is_available():
    sys.exit("torch sees no GPU")
  began = time.perf_counter()
  _, adam, forward = build(args)
  batch = make_batch(args)

  def train():
    returned = forward(batch)
    loss = sum(value for name, value in returned.items() if "loss" in name)
    if args.form == "published":
      loss.item()
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss

  train()
  synchronize(args.device)
  first_step_s = time.perf_counter() - began
  for _ in range(WARM_UP):
    with report.Clock() as clock:
      train()
      synchronize(args.device)
  number, seconds = max(2, round(WINDOW_S / clock.seconds)), []
  for _ in range(WINDOWS):
    with report.Clock() as clock:
      for _ in range(number):
        loss = train()
      synchronize(args.device)
    seconds.append(clock.seconds / number)
  whole = report.spread(seconds)
  on_gpu = args.device == "cuda"
  report.emit(
    {
      "system": "irra",
      "torch": torch.__version__,
      "device": torch.cuda.get_device_name() if on_gpu else "cpu",
      "step_ms": round(1e3 * whole["median_s"], 3),
      "step_ms_windows": [round(1e3 * value, 3) for value in seconds],
      "pairs_per_s": round(args.batch_size / whole["median_s"], 2),
      "memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if on_gpu else None,
      "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 3) if on_gpu else None,
      "first_step_s": round(first_step_s, 1),
      "loss": loss.item(),
    }
  )


if __name__ == "__main__":
  main()
