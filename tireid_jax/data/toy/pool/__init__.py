"""A wide domain for pre-training: objects, counts, relations, places and persons in many drawing styles."""

from tireid_jax.data.toy.pool.captions import caption
from tireid_jax.data.toy.pool.coverage import words_never_used
from tireid_jax.data.toy.pool.entry import render, sample_entry
from tireid_jax.data.toy.pool.store import open_pool, write_pool

__all__ = ["caption", "open_pool", "render", "sample_entry", "words_never_used", "write_pool"]
