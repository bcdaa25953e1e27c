"""RSTPReid, ViT-B/16. Not run yet: neither the data set nor published weights were available.

  python -m tireid_jax.data.prepare --config=configs/rstp.py --raw=DOWNLOADS
  python -m tireid_jax.main --config=configs/rstp.py --stage=all --workdir=W --config.pretrained=CLIP_FOLDER

To compare with (IRRA's page; R@1/R@5/R@10/mAP/mINP): CLIP fine-tuned 54.05/80.70/88.00/43.41/22.31,
IRRA 60.20/81.30/88.20/47.17/25.28.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.data.name = "rstp_reid"
  return common.with_ablation(config, ablation)
