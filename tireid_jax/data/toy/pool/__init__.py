"""A wide domain for pre-training: objects, counts, relations, places and persons in many drawing styles."""

from tireid_jax.data.toy.pool.captions import caption
from tireid_jax.data.toy.pool.entry import render, sample_entry

__all__ = ["caption", "render", "sample_entry"]
