"""Evaluation: embeddings of a split, their retrieval metrics, and what single queries find."""
