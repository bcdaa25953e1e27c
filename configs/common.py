"""Every field once, with its unit, and the table of ablations.

The paper (arXiv 2401.02173), as far as it is known to us, does not give prompt length, depth, initialisation, losses,
learning rates or epochs of its two stages. The values here are ours: stage 1 follows CLIP-ReID's prompt stage, stage 2
follows IRRA. A data set's file (`cuhk.py`, ...) changes what it must and nothing else.

  python -m tireid_jax.main --config=configs/cuhk.py --stage=all --workdir=W
  python -m tireid_jax.main --config=configs/cuhk.py:no_stage1 --stage=all --workdir=W2 --config.seed=1
"""

import copy

from ml_collections import ConfigDict

from tireid_jax.errors import UserError, did_you_mean


def base_config():
  """Returns the config that every data set's file starts from."""
  return ConfigDict(
    {
      "ablation": "",  # the row of ABLATIONS below that was applied, by --config=configs/cuhk.py:ROW
      "seed": 0,
      "data_dir": "data",  # folder of prepared data sets
      # Where the weights come from: a file, folder or hub id of a CLIP model; a workdir or stage folder of another
      # run, also in a bucket (gs://...); or "stage0" for stage 0 of the same workdir.
      "pretrained": "",
      # Of a file with several CLIPs, as a model and its moving average: the prefix of the one to take, as "model_ema."
      # ("." for the one without); "" where there is one.
      "pretrained_prefix": "",
      # On GPUs, only operations whose results repeat to the bit, and no autotuning: slower, but a resumed run ends
      # bit-equal to one that was not stopped, as it does on CPUs anyway.
      "deterministic": False,
      "temperature": 0.02,  # of SDM and ITC, wherever the stage does not learn it
      "stages": (1, 2),  # what --stage=all runs
      # What picks the best checkpoint: "val", "last" (no selection), or "test", as most published numbers do.
      "select_on": "val",
      "data": {
        "name": "",
        "image_size": (384, 128),  # (height, width), pixels
        "use_exif": True,  # whether `prepare` turns photographs upright, as their EXIF data says
        # "" for CLIP's own, or a folder or hub id that transformers' CLIPTokenizer reads, for another vocabulary.
        "tokenizer": "",
        "caption_lengths": (32, 48, 64, 77),  # tokens; a batch is padded to the smallest that holds its longest caption
        "val_identities": 0,  # training identities held out for validation where the data set has no such split
      },
      "model": {
        "variant": "ViT-B/16",  # a name of models/variants.py, or "from_weights" for whatever the weights are of
        # What a bare file of weights does not tell, and what differs from the variant of that name.
        "num_heads": (0, 0),  # (image, text); 0 for the variant's
        "activation": "",  # "quick_gelu" or "gelu"; "" for the variant's
        "stride": 0,  # pixels from one image patch to the next; 0 for the patch size, less for overlapping patches
        "position_resize": "bilinear",  # of the image position table: "bilinear", or "bicubic" as open_clip
        # "loop": one compiled block, run again and again; "unrolled": faster on TPUs and slower to compile; or "auto":
        # unrolled on accelerators, a loop on CPU.
        "blocks": "auto",
        # What the backward pass computes again: "none", "dots" (all but matrix products and what attention found),
        # "full", or "auto": dots in a loop, where it saves time as well as memory, and none where blocks are unrolled.
        "remat": "auto",
        # "xla", "cudnn" (NVIDIA GPUs, bfloat16), or "auto": cudnn where a probe runs. Exported models have "xla".
        "attention": "auto",
      },
      "prompts": {
        "image_length": 4,  # tokens per block; 0 for none
        "text_length": 4,  # tokens per block; 0 for none
        "placement": "deep",  # where the tokens go: a name in PLACEMENTS of models/prompts.py
        "depth": 12,  # blocks with prompts of their own, from the first
        "init_std": 0.02,
        "dropout": 0.0,  # share of prompt elements
      },
      # Devices along each axis; -1 for all the rest. A batch is split over data and fsdp; weights and their moments
      # over fsdp, to be gathered where a block needs them, and over model, by heads and channels.
      "mesh": {
        "data": -1,
        "fsdp": 1,
        "model": 1,
        # Which axis crosses the network between TPU slices or GPU nodes, "data" or "fsdp"; the others stay inside.
        "dcn_axis": "data",
        "num_slices": 0,  # N splits CPU devices into N slices, to compare results; 0 for what the devices report
      },
      "evaluation": {"batch_size": 128},  # images or captions at a time
      "log_every_steps": 50,
      "checkpoint_every_steps": 1000,  # besides the end of each epoch
      "checkpoint_every_minutes": 0.0,  # since the last one; 0 for steps and epochs alone
      "stage0": _stage(
        trains=("params",),
        init_from="random",
        use_prompts=False,
        learns_temperature=True,
        losses={"itc": 1.0},
        epochs=20,
        learning_rate=5e-4,
        adam_eps=1e-8,
        weight_decay=0.0,
        warmup_epochs=1.0,
      ),
      "stage1": _stage(
        trains=("prompts",),
        init_from="pretrained",
        losses={"itc": 1.0},
        epochs=10,
        learning_rate=3.5e-4,
        adam_eps=1e-8,
        weight_decay=1e-4,
        warmup_epochs=1.0,
      ),
      "stage2": _stage(init_from="stage1", **IRRA_RECIPE),
    }
  )


# Losses and optimiser of IRRA without its masked language model: Adam with coupled L2 decay.
IRRA_RECIPE = {
  "trains": ("params",),
  "losses": {"sdm": 1.0, "identity": 1.0},
  "epochs": 60,
  "batch_size": 64,
  "learning_rate": 1e-5,
  "adam_eps": 1e-3,
  "weight_decay": 4e-5,
  "bias_lr_factor": 2.0,
  "new_lr_factor": 5.0,
  "warmup_epochs": 5.0,
  "warmup_start": 0.1,
  "schedule_by": "epoch",
}


def _stage(*, losses, **fields):
  """Returns a stage: what it trains, where it starts, how it learns. A loss of weight 0 is not computed."""
  stage = {
    "trains": ("params",),  # paths of the variables it trains: "prompts", "params", "params/image_encoder", ...
    # "random", "pretrained", "stage0", "stage1", or what `pretrained` above may be.
    "init_from": "pretrained",
    "data": "",  # data set of this stage, where it is not data.name
    "use_prompts": True,  # False: plain CLIP, whatever `prompts` says
    "learns_temperature": False,  # train CLIP's logit_scale and use it instead of `temperature`
    "losses": {
      "sdm": 0.0,  # similarity distribution matching
      "itc": 0.0,  # CLIP's loss; pairs of one identity are no negatives of each other
      "itc_plain": 0.0,  # CLIP's loss; every other pair is a negative
      "cmpm": 0.0,  # cross-modal projection matching
      "identity": 0.0,  # classification of the training identities
      **losses,
    },
    "epochs": 1,  # passes over what the sampler goes through: captions, identities or images
    "batch_size": 64,  # captions, each with its image, over all devices
    # Captions, over all devices, whose activations are held at a time, to save memory: the gradient is exactly that of
    # the whole batch. It divides batch_size, and is a multiple of the devices along data and fsdp times
    # sampler.captions_per_image where that holds. 0 for the whole batch, without the second forward pass.
    "microbatch_size": 0,
    "sampler": {
      # "captions": each once an epoch. "identities" or "images": each once an epoch, with as many of its captions as
      # the field below says. With "images", an image is encoded once for its captions.
      "kind": "captions",
      "captions_per_identity": 4,
      "captions_per_image": 2,
    },
    "learning_rate": 1e-5,  # at its peak
    "adam_betas": (0.9, 0.999),
    "adam_eps": 1e-8,
    "weight_decay": 0.0,  # L2, added to the gradient before Adam; biases have none
    "bias_lr_factor": 1.0,  # times learning_rate, for biases
    "new_lr_factor": 1.0,  # times learning_rate, for the identity head
    "prompt_lr_factor": 1.0,  # times learning_rate, for prompts
    "warmup_epochs": 0.0,
    "warmup_start": 0.0,  # share of the learning rate at step 0
    "final_lr": 0.0,  # share of the learning rate at the end of the cosine
    "schedule_by": "step",  # "step", or "epoch": constant within an epoch
    "clip_norm": 0.0,  # of the trained gradients; 0 for no clipping
    # Arithmetic: "float32"; "bfloat16", faster on CPUs that multiply it (avx512_bf16); or "auto": bfloat16 on
    # accelerators, float32 on CPU.
    "precision": "auto",
    "evaluate_every_epochs": 1,
    "augment": {
      "flip": 0.5,  # probability
      "pad": 10,  # pixels of black on each side before a crop of the image's size
      "erase_probability": 0.5,
      "erase_area": (0.02, 0.4),  # share of the image
      "erase_aspect": (0.3, 3.3),  # height over width
      # Off here, as in IRRA; in brackets what TBPS-CLIP has, which draws two of its list for each image.
      "rotation": 0.0,  # degrees to either side, at most [15]
      "crop_area": (1.0, 1.0),  # share of the image that is cut out and resized to the whole [(0.9, 1)]
      "crop_aspect": (3 / 4, 4 / 3),  # width over height of what is cut out, over the image's own
      "brightness": 0.0,  # how far a random factor may be from 1 [0.1]
      "contrast": 0.0,  # likewise [0.1]
      "saturation": 0.0,  # likewise [0.1]
      "hue": 0.0,  # share of the colour circle to either side, at most [0]
      "jitter_probability": 1.0,  # of the four above, together
      "grey_probability": 0.0,  # [0.1]
      "blur_probability": 0.0,  # [0.5, in its second views alone]
      "blur_sigma": (0.1, 2.0),  # pixels
    },
    "augment_text": {
      "delete_probability": 0.0,  # of each token between the start token and the end token
      "mask_probability": 0.0,  # likewise, that it becomes the token below
      # CLIP's vocabulary has no mask. This is its last word, "jekyll", which IRRA too gives up for one; of another
      # vocabulary choose a word that no caption has.
      "mask_token": 49_405,
      "swap_fraction": 0.0,  # exchanges of two tokens, over the caption's tokens; at least one if not 0
    },
  }
  unknown = set(fields) - set(stage)
  if unknown:
    raise ValueError(f"a stage has no field {sorted(unknown)}")
  return {**stage, **fields}


class Same:
  """In a row of the table: the value that another field had before the row was applied."""

  def __init__(self, field):
    self.field = field


_NO_PROMPTS = {"prompts.image_length": 0, "prompts.text_length": 0}
_DIRECT = {"stages": (2,), "stage2.init_from": "pretrained"}


def _only(**losses):
  return {"sdm": 0.0, "itc": 0.0, "itc_plain": 0.0, "cmpm": 0.0, "identity": 0.0, **losses}


def _recipe(losses, **recipe):
  fields = {"losses": _only(**losses), "sampler.kind": "captions", **recipe}
  return {f"stage2.{name}": value for name, value in fields.items()}


# Name: {field: value}. Each row runs on every data set.
ABLATIONS: dict[str, dict] = {
  # Direct fine-tuning, without prompts.
  "no_prompts": {**_NO_PROMPTS, **_DIRECT},
  # Prompts at their random start, frozen, under fine-tuned encoders.
  "no_stage1": _DIRECT,
  "prompts_only": {"stages": (1,)},
  # Prompts and encoders at once.
  "joint": {**_DIRECT, "stage2.trains": ("prompts", "params")},
  # Encoders first, without prompts, by stage 2's recipe; then the prompts, by stage 1's.
  "reversed": {
    "stage1": Same("stage2"),
    "stage2": Same("stage1"),
    "stage1.init_from": "pretrained",
    "stage1.use_prompts": False,
    "stage2.init_from": "stage1",
  },
  "image_prompts_only": {"prompts.text_length": 0},
  "text_prompts_only": {"prompts.image_length": 0},
  "shallow": {"prompts.depth": 1},
  # Length 0 leaves stage 1 nothing to learn.
  "prompt_length_0": {**_NO_PROMPTS, **_DIRECT},
  **{f"prompt_length_{n}": {"prompts.image_length": n, "prompts.text_length": n} for n in (1, 2, 4, 8, 16)},
  "stage1_sdm": {"stage1.losses": _only(sdm=1.0)},
  "stage1_sdm_id": {
    "stage1.losses": _only(sdm=1.0, identity=1.0),
    "stage1.trains": ("prompts", "params/id_head"),
  },
  # The two rows to check first on real data: IRRA's "CLIP, fine-tuned" and IRRA without its language model.
  "clip_baseline": {**_NO_PROMPTS, **_DIRECT, **_recipe(**{**IRRA_RECIPE, "losses": {"itc_plain": 1.0}})},
  "irra_like": {**_NO_PROMPTS, **_DIRECT, **_recipe(**IRRA_RECIPE)},
}


def with_ablation(config, name):
  """Returns the config changed as the table's row says; no name changes nothing."""
  if not name:
    return config
  if name not in ABLATIONS:
    raise UserError(f"there is no ablation {name!r}{did_you_mean(name, ABLATIONS)}; all: {', '.join(ABLATIONS)}")
  before = copy.deepcopy(config)
  for field, value in ABLATIONS[name].items():
    if isinstance(value, Same):
      value = copy.deepcopy(before[value.field])
    section, _, last = field.rpartition(".")
    (config[section] if section else config)[last] = value
  config.ablation = name
  return config
