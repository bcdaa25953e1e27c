"""Files on a disk or in a bucket, locks, and the persistent compilation cache."""
