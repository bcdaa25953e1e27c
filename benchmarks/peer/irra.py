"""Imports the peer (IRRA) from the folder in IRRA_DIR and builds its model with random weights.

None of the peer's code is copied: the model, the losses, the optimizer's parameter groups, the dataset classes and the
metrics are imported from there.
"""

import contextlib
import os
import sys

import torch
from torch import nn

#: the sizes of OpenAI's ViT-B/16 checkpoint, at the peer's 384x128
VIT_B_16 = {
  "embed_dim": 512,
  "image_resolution": (384, 128),
  "vision_layers": 12,
  "vision_width": 768,
  "vision_patch_size": 16,
  "stride_size": 16,
  "context_length": 77,
  "vocab_size": 49408,
  "transformer_width": 512,
  "transformer_heads": 8,
  "transformer_layers": 12,
}

VIT_L_14 = {
  **VIT_B_16,
  "embed_dim": 768,
  "vision_layers": 24,
  "vision_width": 1024,
  "vision_patch_size": 14,
  "stride_size": 14,
  "transformer_width": 768,
  "transformer_heads": 12,
}

#: small enough for a test on a CPU
TINY = {
  **VIT_B_16,
  "embed_dim": 64,
  "image_resolution": (96, 48),
  "vision_layers": 2,
  "vision_width": 128,
  "transformer_width": 64,
  "transformer_heads": 1,
  "transformer_layers": 2,
}

VARIANTS = {"ViT-B/16": VIT_B_16, "ViT-L/14": VIT_L_14, "tiny": TINY}

#: identities in CUHK-PEDES' training split
CLASSES = 11003


def locate():
  """Puts the peer's folder first on the import path; stubs torchvision if it cannot be imported."""
  folder = os.environ.get("IRRA_DIR")
  if not folder or not os.path.isfile(os.path.join(folder, "model", "clip_model.py")):
    sys.exit("set IRRA_DIR to a checkout of the peer (github.com/anosorae/IRRA)")
  if folder not in sys.path:
    sys.path.insert(0, folder)
  try:
    import torchvision.transforms  # noqa: F401
  except Exception:
    import transforms_stub

    transforms_stub.install()
  return folder


@contextlib.contextmanager
def quiet():
  """Redirects the peer's output to stderr, so that stdout has only the line of JSON."""
  with contextlib.redirect_stdout(sys.stderr):
    yield


def options(**changes):
  """The peer's own default options (the ones its model and optimizer read), with changes."""
  locate()
  from utils.options import get_args

  saved, sys.argv = sys.argv, sys.argv[:1]
  try:
    args = get_args()
  finally:
    sys.argv = saved
  for name, value in changes.items():
    setattr(args, name, value)
  return args


class FloatLinear(nn.Linear):
  """An fp32 classifier that accepts the half-precision features of the peer's forward pass."""

  def forward(self, features):
    return super().forward(features.to(self.weight.dtype))


def clip(config=VIT_B_16, seed=0):
  """The peer's CLIP class with random weights, fp32."""
  locate()
  from model.clip_model import CLIP

  torch.manual_seed(seed)
  return CLIP(**config)


def build(losses="sdm+id", classes=CLASSES, config=VIT_B_16, seed=0, published=False):
  """Returns the peer's IRRA model with random weights, in fp32 or (as published) half precision, and its options.

  Its CLIP builder would download OpenAI's file, so it is replaced by a function that builds the same CLIP class with
  random weights.
  """
  args = options(loss_names=losses, img_size=config["image_resolution"])
  import model.build as peer_build

  original = peer_build.build_CLIP_from_openai_pretrained
  peer_build.build_CLIP_from_openai_pretrained = lambda *_: (clip(config, seed), dict(config))
  try:
    with quiet():
      net = (peer_build.build_model if published else peer_build.IRRA)(args, classes)
  finally:
    peer_build.build_CLIP_from_openai_pretrained = original
  if published:
    return net, args
  if "id" in losses.split("+"):
    wide = FloatLinear(net.embed_dim, classes)
    wide.load_state_dict(net.classifier.state_dict())
    net.classifier = wide
  return net.float(), args


def optimizer(net, args):
  """The peer's Adam: one parameter group per tensor, its own learning rates and eps."""
  from solver import build_optimizer

  with quiet():
    return build_optimizer(args, net)


def add_prompts(net, count, train_classifier=False):
  """Freezes every weight and gives both encoders `count` learnable tokens at layer 0.

  Hooks insert them, so that the peer's own forward pass still runs. Images: after the class token, before ln_pre
  (1 + count + patches tokens in total). Captions: after the start token, dropping the last `count` (padding) positions,
  so that the length stays context_length; they are removed after the transformer, so that the peer's end-of-text index
  stays valid. Captions must therefore have `count` padding tokens (see `tokens`).
  """
  for parameter in net.parameters():
    parameter.requires_grad_(False)
  if train_classifier:
    for parameter in net.classifier.parameters():
      parameter.requires_grad_(True)
  base = net.base_model
  image_width, text_width = base.visual.class_embedding.numel(), base.positional_embedding.shape[1]
  net.image_prompts = nn.Parameter(torch.randn(count, image_width) * 0.02)
  net.text_prompts = nn.Parameter(torch.randn(count, text_width) * 0.02)

  def into_image(_, inputs):
    (x,) = inputs  # batch, tokens, width
    prompts = net.image_prompts.to(x.dtype).expand(x.shape[0], -1, -1)
    return (torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1),)

  def into_text(_, inputs):
    (x,) = inputs  # tokens, batch, width
    prompts = net.text_prompts.to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1)
    return (torch.cat([x[:1], prompts, x[1:-count]], dim=0),)

  def out_of_text(_, __, x):
    return torch.cat([x[:1], x[1 + count :]], dim=0)

  base.visual.ln_pre.register_forward_pre_hook(into_image)
  base.transformer.register_forward_pre_hook(into_text)
  base.transformer.register_forward_hook(out_of_text)


def tokens(texts, length=77, max_tokens=None):
  """Tokenizes `texts` with the peer's tokenizer: at most `max_tokens` tokens of each, padded to `length`."""
  locate()
  from datasets.bases import tokenize
  from utils.simple_tokenizer import SimpleTokenizer

  tokenizer = SimpleTokenizer()
  rows = torch.zeros(len(texts), length, dtype=torch.long)
  max_tokens = max_tokens or length
  for row, text in zip(rows, texts, strict=True):
    row[:max_tokens] = tokenize(text, tokenizer, text_length=max_tokens)
  return rows
