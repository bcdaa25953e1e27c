"""Small real file systems, full or read-only on demand: tmpfs if this process may mount, otherwise file size limits.

with SmallDisk(folder, mib=8) as disk:     folder is a file system of 8 MiB
  run("main", f"--workdir={folder}/w")     ends with "no space left on device"
  disk.resize(64)                          space is available again
run_limited(1, "main", ...)                no file may grow beyond 1 MiB, for any user ("file too large")
"""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.commands import ROOT, command, environment

MIB = 2**20


@functools.cache
def can_mount():
  """Returns whether this process may mount a tmpfs, which root may, except in containers without that capability."""
  if os.geteuid() or not shutil.which("mount"):
    return False
  with tempfile.TemporaryDirectory() as folder:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
    if done.returncode == 0:
      subprocess.run(["umount", folder], check=True)
    return done.returncode == 0


class SmallDisk:
  """A context manager that mounts an empty tmpfs of `mib` MiB on a folder and unmounts it at the end."""

  def __init__(self, folder, mib):
    self.folder = pathlib.Path(folder)
    self._mib = mib

  def __enter__(self):
    self.folder.mkdir(parents=True, exist_ok=True)
    _call("mount", "-t", "tmpfs", "-o", f"size={self._mib}m", "none", self.folder)
    return self

  def __exit__(self, *_):
    _call("umount", "--lazy", self.folder)

  def resize(self, mib):
    """Changes the size, which must be large enough for the present content."""
    _call("mount", "-o", f"remount,size={mib}m", self.folder)

  def set_read_only(self, is_read_only):
    """Remounts it read-only (even for root) or writable."""
    _call("mount", "-o", f"remount,{'ro' if is_read_only else 'rw'}", self.folder)

  def free_bytes(self):
    """Returns the free space in bytes."""
    return shutil.disk_usage(self.folder).free

  def fill(self, free_bytes=0):
    """Fills the disk, except for `free_bytes`, with a file FOLDER/ballast; delete that file to free the space."""
    (self.folder / "ballast").unlink(missing_ok=True)
    with (self.folder / "ballast").open("wb") as file:
      os.posix_fallocate(file.fileno(), 0, max(1, self.free_bytes() - free_bytes))


def run_limited(mib, module, *arguments, **changes):
  """Runs a command that may not write files larger than `mib` MiB; returns the CompletedProcess, with text output."""
  limit = f'ulimit -f {int(mib * 1024)}; exec "$@"'
  return subprocess.run(
    ["bash", "-c", limit, "--", *command(module, *arguments)], cwd=ROOT, env=environment(**changes),
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip


def _call(*arguments):
  done = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
