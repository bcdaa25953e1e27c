"""Prepared data sets: decoded images in array records and an index; written, opened and checked."""
