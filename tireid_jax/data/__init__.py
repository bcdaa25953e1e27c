"""From raw downloads to batches: annotation readers, the tokenizer, TFDS builders, the pipeline and augmentation."""
