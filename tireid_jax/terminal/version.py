"""What `--version` prints: what a bug report needs to know of the installation."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess

import jax

import tireid_jax

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_VARIABLES = ("JAX_PLATFORMS", "XLA_FLAGS", "JAX_ENABLE_X64")
_DIGEST_LENGTH = 12


def format_version(config=None):
  """Returns a line for each version, the devices and, for a config as JSON data, its digest.

  The digest is that of the config with all overrides, whatever the order of its fields: the first 12 hexadecimal digits
  of the SHA-256 of its JSON with sorted keys.
  """
  lines = {
    "tireid_jax": f"{tireid_jax.__version__}{_commit(pathlib.Path(tireid_jax.__file__).parents[1])}",
    "Python": platform.python_version(),
    **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    "system": platform.platform(),
    "devices": _devices(),
    **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
  }
  if config is not None:
    lines["config"] = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:_DIGEST_LENGTH]
  width = max(map(len, lines))
  return "\n".join(f"{name:{width}}  {value}".rstrip() for name, value in lines.items())


def _devices():
  try:
    devices = jax.local_devices()
  except RuntimeError as error:  # no backend starts: this is what the report is about
    return f"none ({' '.join(str(error).split())})"
  kinds = [f"{device.platform} ({device.device_kind})" for device in devices]
  return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))


def _commit(root):
  """Returns " (commit ABC, modified)" for a checkout, and "" for an installed package."""
  if not (root / ".git").exists():
    return ""
  try:
    described = subprocess.run(
      ["git", "-C", root, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, check=True
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):  # git is missing, or does not trust the folder's owner
    return ""
  commit, _, dirty = described.partition("-")
  return f" (commit {commit}{', modified' if dirty else ''})"
