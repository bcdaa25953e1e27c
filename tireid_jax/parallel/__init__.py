"""The mesh of devices, sharding rules, and several processes as one run."""
