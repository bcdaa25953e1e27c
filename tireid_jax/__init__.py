"""Text-to-image person re-identification with decoupled prompts, in JAX.

Shapes in docstrings, comments and einsums use one legend:
`B` batch, `I` images of a batch where captions share them, `L` tokens, `P` prompt tokens, `D` width, `H` heads,
`K` head size, `E` joint embedding, `V` vocabulary, `N` queries, `G` gallery, `C` identities, `h, w` image height and
width in pixels.
"""

__version__ = "0.1.0"
