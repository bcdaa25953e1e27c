"""CUHK-PEDES, ViT-B/16. Not run yet: neither the data set nor published weights were available.

  python -m tireid_jax.data.prepare --config=configs/cuhk.py --raw=DOWNLOADS
  python -m tireid_jax.main --config=configs/cuhk.py --stage=all --workdir=W --config.pretrained=CLIP_FOLDER

To compare with (IRRA's page; R@1/R@5/R@10/mAP/mINP): CLIP fine-tuned 68.19/86.47/91.47/61.12/44.86,
IRRA 73.38/89.93/93.71/66.13/50.24.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.data.name = "cuhk_pedes"
  return common.with_ablation(config, ablation)
