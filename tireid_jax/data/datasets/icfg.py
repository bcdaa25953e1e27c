"""ICFG-PEDES (Ding et al., 2021, arXiv 2107.12666): images of MSMT17, one long caption each; no validation split."""

from tireid_jax.data.raw.schema import Counts, Layout

LAYOUTS = (
  Layout(
    name="icfg_pedes",
    config="configs/icfg.py",
    folder="ICFG-PEDES",
    annotation_files=("ICFG-PEDES.json", "ICFG_PEDES.json"),
    published={"train": Counts(3_102, 34_674, 34_674), "test": Counts(1_000, 19_848, 19_848)},
    source="MSMT17",
  ),
)
