"""What others run without this package."""
