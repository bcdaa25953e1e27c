"""Published weights: files of many formats -> tensors by Hugging Face's names."""
