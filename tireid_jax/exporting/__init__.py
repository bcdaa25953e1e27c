"""Conversion of trained encoders to formats that run without this package."""
