"""Small real file systems, full or read-only on demand: tmpfs where this process may mount, else limits on file sizes.

with SmallDisk(folder, mib=8) as disk:     folder is a file system of 8 MiB
  run("main", f"--workdir={folder}/w")     ends with "no space left on device"
  disk.resize(64)                          room is made
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
  """Whether this process may mount a tmpfs: as root, unless in a container without that right."""
  if os.geteuid() or not shutil.which("mount"):
    return False
  with tempfile.TemporaryDirectory() as folder:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
    if done.returncode == 0:
      subprocess.run(["umount", folder], check=True)
    return done.returncode == 0


class SmallDisk:
  """A tmpfs of `mib` MiB on a folder, empty at first, and gone when it is left. A context manager."""

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
    """Changes its size, which must hold what is there."""
    _call("mount", "-o", f"remount,size={mib}m", self.folder)

  def set_read_only(self, is_read_only):
    """Lets nobody write, not even root, or all who may again."""
    _call("mount", "-o", f"remount,{'ro' if is_read_only else 'rw'}", self.folder)

  def free_bytes(self):
    """Returns how much room there is."""
    return shutil.disk_usage(self.folder).free

  def fill(self, free_bytes=0):
    """Leaves so many bytes of room by a file FOLDER/ballast; remove that to make room again."""
    (self.folder / "ballast").unlink(missing_ok=True)
    with (self.folder / "ballast").open("wb") as file:
      os.posix_fallocate(file.fileno(), 0, max(1, self.free_bytes() - free_bytes))


def run_limited(mib, module, *arguments, **changes):
  """Runs a command that may write no file of more than so many MiB; returns the CompletedProcess, output as text."""
  limit = f'ulimit -f {int(mib * 1024)}; exec "$@"'
  return subprocess.run(
    ["bash", "-c", limit, "--", *command(module, *arguments)], cwd=ROOT, env=environment(**changes),
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip


def _call(*arguments):
  done = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
