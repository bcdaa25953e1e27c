"""CUHK-PEDES (Li et al., CVPR 2017, arXiv 1702.05729): persons of five older data sets, two captions an image."""

from tireid_jax.data.raw.schema import Counts, Layout

LAYOUTS = (
  Layout(
    name="cuhk_pedes",
    config="configs/cuhk.py",
    folder="CUHK-PEDES",
    annotation_files=("reid_raw.json",),
    first_id=1,
    published={
      "train": Counts(11_003, 34_054, 68_126),
      "val": Counts(1_000, 3_078, 6_158),
      "test": Counts(1_000, 3_074, 6_156),
    },
  ),
)
