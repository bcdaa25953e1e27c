"""Caches of compiled programs and autotuning results, and archives that carry them to a later session on a GPU.

JAX stores XLA's autotuning results in the folder of its persistent compilation cache, in
`xla_gpu_per_fusion_autotune_cache_dir`; torch's compiler gets a folder next to it. Archives are plain tar files, since
their content is already compressed.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tarfile
import tempfile

import jax

ARCHIVE = "cache-{}.tar"


@contextlib.contextmanager
def folder():
  """Yields an empty folder, always at the same path, on which cache keys depend until jax 0.11.

  Raises:
    ValueError: another run is using it.
  """
  path = pathlib.Path(tempfile.gettempdir()) / f"tireid_jax_gpu_{os.getuid()}"
  with path.with_suffix(".lock").open("w") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f"another run of benchmarks.gpu is in progress and uses {path}; wait until it ends") from None
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
      yield path
    finally:
      shutil.rmtree(path, ignore_errors=True)


def use(folder):
  """Makes FOLDER/jax the persistent cache of compiled programs and autotuning results."""
  folder = pathlib.Path(folder).absolute() / "jax"
  folder.mkdir(parents=True, exist_ok=True)
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def environment(folder):
  """Returns the environment variables that put the caches of torch's compiler into FOLDER."""
  folder = pathlib.Path(folder).absolute()
  return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def save(folder, to, *, num_archives, archive_mib):
  """Writes the files of a folder to TO/cache-0.tar, ..., and returns (bytes written, bytes left out).

  Args:
    folder: the folder of caches.
    to: an existing folder.
    num_archives: maximum number of archives.
    archive_mib: maximum size of each. Small files come first: autotuning results are small and save the most time.
  """
  folder, limit = pathlib.Path(folder), archive_mib * 2**20
  files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
  archives: list[list[pathlib.Path]] = [[]]
  # A tar member has a header of 512 bytes (more for long names) and is padded to 512 bytes; two blocks end the file.
  used, left_out, written = 10_240, 0, 0
  for path in files:
    size = path.stat().st_size
    padded = 2_048 + -(-size // 512) * 512
    if used + padded > limit and len(archives) < num_archives:
      archives.append([])
      used = 10_240
    if used + padded > limit:
      left_out += size
      continue
    archives[-1].append(path)
    used, written = used + padded, written + size
  for number, members in enumerate(archives):
    if members:
      with tarfile.open(pathlib.Path(to) / ARCHIVE.format(number), "w") as archive:
        for path in members:
          archive.add(path, path.relative_to(folder))
  return written, left_out


def restore(source, folder):
  """Unpacks the archives that `save` wrote to `source` into a folder; returns their number."""
  archives = sorted(pathlib.Path(source).glob(ARCHIVE.format("*")))
  for path in archives:
    with tarfile.open(path) as archive:
      archive.extractall(folder, filter="data")
  return len(archives)
