"""Normalisation and augmentation of images and captions, inside the jitted step."""
