"""Synthetic data sets: ToyPEDES, persons seen by cameras, ToyIllustrated, persons in drawings, and ToyGeneric, objects.

`python -m tireid_jax.data.toy --config=configs/toy.py --to=DIR` writes them in the layout of CUHK-PEDES.
"""

from tireid_jax.data.toy.oracle import attribute_ceilings
from tireid_jax.data.toy.write import write_generic, write_pedes, write_persons

__all__ = ["attribute_ceilings", "write_generic", "write_pedes", "write_persons"]
