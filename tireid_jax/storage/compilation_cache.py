"""How programs are compiled, and where they are kept from one command to the next."""

import contextlib
import hashlib
import os
import pathlib
import platform
import stat
import tempfile

import jax

# What a folder may hold when a command begins; all that the tests compile takes 84 MB.
MAX_BYTES = 2 * 2**30


def enable_persistent_cache(folder=None):
  """Lets JAX keep what it compiles in a folder, and find it there; nothing where the devices are several CPU devices.

  To be called before anything is compiled, once `distributed.initialize` has been.

  Args:
    folder: None for the user's own, below ~/.cache/tireid_jax. Of more than MAX_BYTES, what was used the longest time
      ago is deleted. JAX_COMPILATION_CACHE_DIR overrides either, and nothing is deleted there; with
      JAX_ENABLE_COMPILATION_CACHE=0 nothing is kept.
  """
  if jax.default_backend() == "cpu" and jax.device_count() > 1:
    # A CPU program that is read back has lost the order of its collectives: XLA writes down that each needs the
    # communicator, not that it is the same one. Devices that begin with different ones wait for each other for ever.
    jax.config.update("jax_enable_compilation_cache", False)
    return
  if jax.config.values["jax_compilation_cache_dir"] is not None:
    return
  folder = folder or _users_folder()
  delete_least_recently_used(folder, MAX_BYTES)
  jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
  # JAX's own 1 s leaves out dozens of small programs, which take a second together.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def delete_least_recently_used(folder, max_bytes):
  """Deletes files that were used the longest time ago, until a folder holds no more than so many bytes.

  JAX's own `jax_compilation_cache_max_size` takes a lock for each read, and so reads nothing from a read-only folder;
  in jax 0.10 it writes nothing to a folder with a program from before it was set, or from a process that was killed.

  Args:
    folder: pathlib.Path, which need not be there.
    max_bytes: of all files below it.
  """
  files = []
  for path in folder.rglob("*"):
    with contextlib.suppress(OSError):  # another process deleted it
      found = path.stat()
      if stat.S_ISREG(found.st_mode):
        # Linux notes a read once a day, or the first one after a write.
        files.append((max(found.st_atime, found.st_mtime), found.st_size, path))
  excess = sum(size for _, size, _ in files) - max_bytes
  for _, size, path in sorted(files):
    if excess <= 0:
      return
    with contextlib.suppress(OSError):
      path.unlink()
      excess -= size


def compiler_options(*, deterministic, platform):
  """Returns the `compiler_options` of `jax.jit` for a program of a run.

  Args:
    deterministic: whether a GPU shall compute the same bits each time.
    platform: of the devices, "cpu", "gpu" or "tpu".
  """
  # A TPU's compiler does not know the options of others, and computes the same bits anyway.
  return {"xla_gpu_deterministic_ops": True} if deterministic and platform != "tpu" else None


def _users_folder():
  """Returns a folder of this kind of machine: homes may be shared, and CPU programs hold the CPU's own instructions."""
  try:
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
  except RuntimeError:  # neither HOME nor an entry in passwd, as in a container that runs with --user
    root = pathlib.Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
  return root / "tireid_jax" / "compiled" / hashlib.blake2b(_cpu().encode(), digest_size=8).hexdigest()


def _cpu():
  """Returns what tells this machine's CPU from others: on Linux, the instructions that it has."""
  file = pathlib.Path("/proc/cpuinfo")
  lines = file.read_text().splitlines() if file.exists() else []
  found = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
  return "\n".join([platform.machine(), *found])
