"""Configs: found, checked, stored and compared."""
