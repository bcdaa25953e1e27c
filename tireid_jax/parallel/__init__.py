"""Device mesh, sharding rules and multi-process runs."""
