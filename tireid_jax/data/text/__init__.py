"""Captions cleaned and encoded as CLIP does."""
