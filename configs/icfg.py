"""ICFG-PEDES, ViT-B/16. Not run yet: neither the data set nor published weights were available.

  python -m tireid_jax.data.prepare --config=configs/icfg.py --raw=DOWNLOADS
  python -m tireid_jax.main --config=configs/icfg.py --stage=all --workdir=W --config.pretrained=CLIP_FOLDER

It has no validation split: the last checkpoint is evaluated, unless `data.val_identities` holds out training identities
and `select_on` is "val".

To compare with (IRRA's page; R@1/R@5/R@10/mAP/mINP): CLIP fine-tuned 56.74/75.72/82.26/31.84/5.03,
IRRA 63.46/80.24/85.82/38.05/7.92.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.data.name = "icfg_pedes"
  config.select_on = "last"
  return common.with_ablation(config, ablation)
