"""Synthetic data sets: ToyPEDES, persons seen by several cameras, and ToyGeneric, single objects, garments and persons.

`python -m tireid_jax.data.toy --config=configs/toy.py --to=DIR` writes both in the layout of CUHK-PEDES.
"""

from tireid_jax.data.toy.oracle import attribute_ceilings
from tireid_jax.data.toy.write import write_generic, write_pedes

__all__ = ["attribute_ceilings", "write_generic", "write_pedes"]
