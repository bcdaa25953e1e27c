"""The synthetic data that tireid_jax.data.toy writes, in the layout of CUHK-PEDES; config.toy sets their sizes."""

from tireid_jax.data.raw.schema import Layout

PEDES = Layout(
  name="toy_pedes",
  config="configs/toy.py",
  folder="ToyPEDES",
  annotation_files=("reid_raw.json",),
  first_id=1,
)
GENERIC = Layout(
  name="toy_generic",
  config="configs/toy.py --config.data.name=toy_generic",
  folder="ToyGeneric",
  annotation_files=("reid_raw.json",),
  first_id=1,
)
ILLUSTRATED = Layout(
  name="toy_illustrated",
  config="configs/toy.py --config.data.name=toy_illustrated",
  folder="ToyIllustrated",
  annotation_files=("reid_raw.json",),
  first_id=1,
)
LAYOUTS = (PEDES, GENERIC, ILLUSTRATED)
