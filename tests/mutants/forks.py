"""Runs tests in forks of a process that has imported the libraries, which takes a new process seconds."""

import contextlib
import dataclasses
import os
import pathlib
import resource
import shutil
import signal
import sys
import time

# More than any test needs, so that a mutant cannot use up the memory of the machine.
MEMORY_BYTES = 6 * 2**30
# Third-party modules that the tests import. JAX must not compute anything before the fork: its threads would hang.
LIBRARIES = (
  "absl.flags", "chex", "fsspec", "ftfy", "flax.linen", "flax.serialization", "huggingface_hub", "hypothesis",
  "jax.numpy", "ml_collections", "msgpack", "optax", "orbax.checkpoint", "PIL.Image", "pytest", "safetensors.numpy",
  "tensorboardX", "tensorflow_datasets", "tokenizers", "tqdm", "array_record.python.array_record_module",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The outcome of tests.

  Attributes:
    status: "passed", "failed" or "too slow".
    by: the test that failed first, or "".
    seconds: of wall-clock time.
  """

  status: str
  by: str
  seconds: float


def copy_files(root, files, folder):
  """Copies files of a repository, given by their paths in it; symbolic links are preserved and point into the copy."""
  for file in files:
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(root / file, target, follow_symlinks=False)


class Tests:
  """Runs tests in a copy of the repository, in forks."""

  def __init__(self, folder, cache, *, forks=True):
    """Imports the libraries.

    Args:
      folder: the copy.
      cache: folder of the compilation cache.
      forks: False runs each in a new process, for comparison.
    """
    self._folder, self._cache, self._forks = pathlib.Path(folder), cache, forks
    if forks:
      for name in LIBRARIES:
        __import__(name)

  def run(self, files, limit_s, *, writes_cache=False):
    """Returns the Outcome of test files, up to the first failure.

    Args:
      files: their paths in the repository.
      limit_s: seconds after which they are killed.
      writes_cache: also write to the compilation cache. By default it is only read, so that mutants do not fill it.
    """
    note = self._folder / "failed_first"
    note.unlink(missing_ok=True)
    start = time.monotonic()
    child = os.fork()
    if not child:
      self._be_child(files, limit_s, note, writes_cache)
    try:
      _, status = os.waitpid(child, 0)
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # including the processes that it started
    seconds = time.monotonic() - start
    by = note.read_text() if note.exists() else ""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
      return Outcome("too slow", by, seconds)
    return Outcome("failed" if status else "passed", by or (f"status {status}" if status else ""), seconds)

  def _be_child(self, files, limit_s, note, writes_cache):
    """Runs the tests and exits with pytest's status."""
    try:
      os.setsid()
      signal.alarm(int(limit_s))
      resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
      null = os.open(os.devnull, os.O_RDWR)
      for stream in (0, 1, 2):
        os.dup2(null, stream)
      os.chdir(self._folder)
      settings = {
        "JAX_COMPILATION_CACHE_DIR": str(self._cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if writes_cache else "1e9",
        "JAX_PLATFORMS": "cpu",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MUTANT_NOTE": str(note),
      }
      os.environ.update(settings)
      arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.first_failure", *files]
      if not self._forks:
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])
      os._exit(_run_here(settings, arguments))
    finally:
      os._exit(70)


def _run_here(settings, arguments):
  import jax  # not before the fork, because it is not needed if each runs in a new process
  import pytest

  # JAX read the environment when it was imported.
  jax.config.update("jax_compilation_cache_dir", settings["JAX_COMPILATION_CACHE_DIR"])
  seconds = float(settings["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
  sys.dont_write_bytecode = True
  sys.path[:] = [os.getcwd(), *(path for path in sys.path if path and not pathlib.Path(path, "tireid_jax").is_dir())]
  for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "configs", "tireid_jax")]:
    del sys.modules[name]  # they shall be those of the copy
  return int(pytest.main(arguments))
