"""Reads published weights: files of several formats -> tensors by their Hugging Face names."""
