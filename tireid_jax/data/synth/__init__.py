"""Synthetic data: SynthPEDES, drawn persons seen by several cameras, and SynthGeneric, plain things and figures.

`python -m tireid_jax.data.synth --config=configs/synth.py --to=DIR` writes both in CUHK-PEDES' layout.
"""

from tireid_jax.data.synth.oracle import attribute_ceilings
from tireid_jax.data.synth.write import write_generic, write_pedes

__all__ = ["attribute_ceilings", "write_generic", "write_pedes"]
