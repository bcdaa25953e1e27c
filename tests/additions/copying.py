"""Copies the package, changes one file of the copy, and runs Python code that imports the copy.

A test of an addition edits one file of the copy and then uses the addition in a separate process.
"""

import filecmp
import pathlib
import shutil
import subprocess
import sys

from tests.commands import ROOT, environment

# Everything that is needed to import the package and run its commands; tireid_jax/configs is a link to configs/.
_FOLDERS = ("tireid_jax", "configs")


class Copy:
  """A copy of the package and its configs.

  Attributes:
    folder: contains tireid_jax/ and configs/.
  """

  def __init__(self, folder):
    """Copies the package into `folder`, a pathlib.Path."""
    self.folder = folder
    for name in _FOLDERS:
      shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))

  def edit(self, path, *replacements, append=""):
    """Replaces text in a file of the copy.

    Args:
      path: of the file, such as "tireid_jax/losses.py".
      *replacements: (old, new) pairs; each old text must occur exactly once.
      append: text added at the end.
    """
    file = self.folder / path
    text = file.read_text()
    for old, new in replacements:
      assert text.count(old) == 1, f"{path} has {text.count(old)} times {old!r}"
      text = text.replace(old, new)
    file.write_text(text + append)

  def changed_files(self):
    """Returns the paths of files that differ from the package's or exist in only one of the two."""
    paths = {path.relative_to(root) for root in (ROOT, self.folder) for path in _files(root)}
    return sorted(str(path) for path in paths if not _is_same(ROOT / path, self.folder / path))

  def python(self, code, *arguments, timeout_s=600):
    """Runs code that imports the copy, in the copy's folder on CPU, and returns its standard output.

    Args:
      code: Python source.
      *arguments: of the program: its sys.argv[1:].
      timeout_s: seconds after which it fails.
    """
    return self._run("-c", code, *arguments, timeout_s=timeout_s)

  def command(self, module, *arguments, timeout_s=600):
    """Runs `python -m tireid_jax.MODULE ...` of the copy and returns its standard output."""
    return self._run("-m", f"tireid_jax.{module}", *arguments, timeout_s=timeout_s)

  def _run(self, *arguments, timeout_s):
    done = subprocess.run(
      [sys.executable, *map(str, arguments)], cwd=self.folder, env=environment(PYTHONPATH=str(self.folder)),
      capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _files(root):
  for folder in _FOLDERS:
    yield from (path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _is_same(one: pathlib.Path, other: pathlib.Path):
  return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
