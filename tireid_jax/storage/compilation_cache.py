"""JAX's persistent compilation cache, and the compiler options of a run."""

import contextlib
import hashlib
import os
import pathlib
import platform
import stat
import tempfile
from typing import Any

import jax

# Size to which the cache is reduced when a command starts; all programs of the tests take 84 MB.
MAX_BYTES = 2 * 2**30


def enable_persistent_cache(folder: pathlib.Path | None = None) -> None:
  """Makes JAX store compiled programs in a folder and reuse them; disables that for several CPU devices.

  Call it after `distributed.initialize` and before anything is compiled.

  Args:
    folder: cache folder, reduced to MAX_BYTES by deleting the least recently used programs; None for a folder below
      ~/.cache/tireid_jax. JAX_COMPILATION_CACHE_DIR overrides it, and nothing is deleted there;
      JAX_ENABLE_COMPILATION_CACHE=0 disables the cache.
  """
  if jax.default_backend() == "cpu" and jax.device_count() > 1:
    # A CPU program loaded from the cache has lost the order of its collectives: XLA serializes that each needs a
    # communicator, but not that they share one. Devices that start with different collectives then deadlock.
    jax.config.update("jax_enable_compilation_cache", False)
    return
  if jax.config.values["jax_compilation_cache_dir"] is not None:
    return
  folder = folder or _users_folder()
  delete_least_recently_used(folder, MAX_BYTES)
  jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
  # JAX's default of 1 s skips dozens of small programs, which take a second together.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def delete_least_recently_used(folder: pathlib.Path, max_bytes: int) -> None:
  """Deletes the least recently used files below a folder until their total size is at most `max_bytes`.

  JAX's own `jax_compilation_cache_max_size` takes a lock for each read, so it reads nothing from a read-only folder; in
  jax 0.10 it writes nothing to a folder that holds a program from before it was set or from a killed process.

  Args:
    folder: may be missing.
    max_bytes: total size of all files below the folder.
  """
  files = []
  for path in folder.rglob("*"):
    with contextlib.suppress(OSError):  # another process deleted it
      found = path.stat()
      if stat.S_ISREG(found.st_mode):
        # Linux updates the access time once a day, and at the first read after a write.
        files.append((max(found.st_atime, found.st_mtime), found.st_size, path))
  excess = sum(size for _, size, _ in files) - max_bytes
  for _, size, path in sorted(files):
    if excess <= 0:
      return
    with contextlib.suppress(OSError):
      path.unlink()
      excess -= size


def compiler_options(*, deterministic: bool, platform: str) -> dict[str, Any] | None:
  """Returns the `compiler_options` that a run passes to `jax.jit`.

  Args:
    deterministic: whether GPU results must be bit-equal from run to run.
    platform: "cpu", "gpu" or "tpu".
  """
  # The TPU compiler rejects this option and is deterministic anyway.
  return {"xla_gpu_deterministic_ops": True} if deterministic and platform != "tpu" else None


def _users_folder():
  """Returns a folder for this type of CPU, since homes may be shared and CPU programs use specific instructions."""
  try:
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
  except RuntimeError:  # neither HOME nor an entry in passwd, as in a container that runs with --user
    root = pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
  return root / "tireid_jax" / "compiled" / hashlib.blake2b(_cpu().encode(), digest_size=8).hexdigest()


def _cpu():
  """Returns text that identifies this type of CPU: on Linux, its model and instruction sets."""
  file = pathlib.Path("/proc/cpuinfo")
  lines = file.read_text().splitlines() if file.exists() else []
  found = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
  return "\n".join([platform.machine(), *found])
