"""Synthetic data: ToyPEDES, drawn persons seen by several cameras, and ToyGeneric, plain things and figures.

`python -m tireid_jax.data.toy --config=configs/toy.py --to=DIR` writes both in CUHK-PEDES' layout.
"""

from tireid_jax.data.toy.oracle import attribute_ceilings
from tireid_jax.data.toy.write import write_generic, write_pedes

__all__ = ["attribute_ceilings", "write_generic", "write_pedes"]
