"""Downloads the wheels of wheels.txt for a machine without a network, for Python 3.12 on x86-64 Linux.

  python -m benchmarks.gpu.wheels --to=wheels

To install them there, in addition to the installed packages:
  python3 -m pip install --no-index --no-deps --no-compile --target=SITE wheels/*.whl && export PYTHONPATH=SITE
"""

import argparse
import pathlib
import subprocess
import sys

LIST = pathlib.Path(__file__).with_name("wheels.txt")
# PyPI has no wheels of these pure-Python packages, so they are built.
BUILT = ("promise",)
PYTHON = "3.12"
# pip matches each tag literally, so all are listed.
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 27, 24, 17)), "manylinux2014_x86_64")


def listed():
  """Returns the requirements of wheels.txt."""
  lines = [line.strip() for line in LIST.read_text().splitlines()]
  return [line for line in lines if line and not line.startswith("#")]


def commands(to):
  """Returns the pip commands that download the wheels to a folder."""
  built = [line for line in listed() if line.split("==")[0] in BUILT]
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
  platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
  return [
    [*pip, "download", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp",
     *platforms, "--dest", str(to), *(line for line in listed() if line not in built)],
    [*pip, "wheel", "--no-deps", "--wheel-dir", str(to), *built],
  ]  # fmt: skip


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  args = parser.parse_args()
  for command in commands(args.to):
    done = subprocess.run(command)
    if done.returncode:
      return done.returncode
  wheels = list(args.to.glob("*.whl"))
  print(f"{len(wheels)} wheels, {sum(wheel.stat().st_size for wheel in wheels) / 1e6:.1f} MB, in {args.to}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
