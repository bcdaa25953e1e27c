"""RSTPReid (Zhu et al., ACM MM 2021, arXiv 2109.05534): images of MSMT17, five a person, two captions an image."""

from tireid_jax.data.raw.schema import Counts, Layout

LAYOUTS = (
  Layout(
    name="rstp_reid",
    config="configs/rstp.py",
    folder="RSTPReid",
    annotation_files=("data_captions.json",),
    published={
      "train": Counts(3_701, 18_505, 37_010),
      "val": Counts(200, 1_000, 2_000),
      "test": Counts(200, 1_000, 2_000),
    },
    path_key="img_path",
    source="MSMT17",
  ),
)
