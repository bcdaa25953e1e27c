"""Profiler traces: captured, and read."""
