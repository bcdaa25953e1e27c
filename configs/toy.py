"""ToyPEDES, the synthetic data set: both stages from toy_clip, the small CLIP of this package, on a CPU.

  python -m tireid_jax.data.toy --config=configs/toy.py --to=RAW
  python -m tireid_jax.data.prepare --config=configs/toy.py --raw=RAW
  python -m tireid_jax.main --config=configs/toy.py --stage=all --workdir=W

`make demo` runs all of this, and direct fine-tuning for comparison; its table is in the README.

Losses, learning rates, temperature and prompt lengths were chosen on validation for a smaller CLIP, and not again for
toy_clip. The lengths are those at which R@1 on the validation split stays level: in the last two validations 62.62 and
62.12 in stage 2, and 64.75 and 64.50 in direct fine-tuning.

`--config.pretrained=stage0 --config.model.variant=tiny --config.prompts.depth=3` starts from a CLIP of its own instead,
pre-trained in a minute (`--stage=0`) on the data set toy_generic. Prepare it, too, by repeating the second command with
`--config.data.name=toy_generic`.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.pretrained = "toy_clip"
  config.data.name = "toy_pedes"
  config.data.image_size = (96, 48)
  config.data.caption_lengths = (40, 56, 77)
  config.model.variant = "small"
  config.model.blocks = "unrolled"
  config.temperature = 0.07
  config.prompts.image_length = 8
  config.prompts.text_length = 8
  config.prompts.depth = 4
  config.log_every_steps = 20
  config.toy = {
    "seed": 3,
    "num_train_ids": 300,
    "num_val_ids": 100,
    "num_test_ids": 100,
    "images_per_id": 4,
    "generic_train_images": 4000,
    "generic_eval_images": 300,
  }
  config.study.update(
    gallery_persons=100,
    further_results=True,
    held_out="toy_pool",
    domains=("toy_pedes",),
    test_domains=("toy_illustrated",),
    train_ids=(30, 100, 300),
    tune_ids=300,
    val_ids=100,
    test_ids=500,
    learning_rates=(0.3, 1.0, 3.0),
    epochs=(10, 30),
    rates_first=True,
    max_extensions=0,
  )
  for stage in (config.stage0, config.stage1, config.stage2):
    stage.sampler.kind = "images"
    stage.augment.pad = 3
    stage.augment.erase_probability = 0.0
  config.stage0.data = "toy_generic"
  config.stage0.epochs = 9
  config.stage0.learning_rate = 1e-3
  config.stage1.epochs = 4
  config.stage1.learning_rate = 1e-2
  config.stage1.evaluate_every_epochs = config.stage2.evaluate_every_epochs = 2
  config.stage2.losses.sdm = 0.0
  config.stage2.losses.itc = 1.0
  config.stage2.epochs = 6
  config.stage2.learning_rate = 1e-3
  config.stage2.adam_eps = 1e-8
  config.stage2.warmup_epochs = 0.5
  config.stage2.schedule_by = "step"
  return common.with_ablation(config, ablation)
