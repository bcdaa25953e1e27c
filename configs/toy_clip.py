"""toy_clip, a small CLIP pre-trained on a pool of 400,000 synthetic pictures: stage 0 alone.

  python -m tireid_jax.pretrain --config=configs/toy_clip.py --workdir=W

An epoch is 10,000 pictures, and validation, every second epoch, gives R@1 after each 20,000 pictures. Between warm-up
and cosine the learning rate is constant; up to the cosine, a run can be continued with more `stage0.stable_epochs` and
`epochs`. Captions distinguish left from right, so pictures are not flipped.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.pretrained = "stage0"
  config.stages = (0,)
  config.data.name = "toy_pedes"
  config.data.image_size = (96, 48)
  config.data.caption_lengths = (48, 64, 77)
  config.model.variant = "small"
  config.model.blocks = "unrolled"
  config.pool = {
    "folder": "",  # "" for pool/ in the workdir
    "seed": 0,
    "num": 402_000,
    "num_held_out": 1_000,  # pictures of validation, and as many of test
    "epoch_size": 10_000,
  }
  config.checkpoint_every_minutes = 5.0
  stage = config.stage0
  stage.data = "toy_pool"
  stage.epochs = 400
  stage.stable_epochs = 320.0
  stage.evaluate_every_epochs = 2
  stage.warmup_epochs = 4.0
  stage.batch_size = 256
  stage.optimizer = "adamw"
  stage.learning_rate = 1e-3
  stage.weight_decay = 0.05
  stage.clip_norm = 1.0
  stage.augment.flip = 0.0
  stage.augment.pad = 3
  stage.augment.erase_probability = 0.0
  return common.with_ablation(config, ablation)
