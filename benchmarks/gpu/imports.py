"""Imports every module of the package, of the configs and of benchmarks/gpu, and reports those that fail.

  python -m benchmarks.gpu.imports

In an environment with the wheels of wheels.txt and the GPU machine's own packages, it shows that the list is complete.
"""

import importlib
import pkgutil
import sys

import benchmarks.gpu
import configs
import tireid_jax


def modules():
  """Returns the names of all modules except those that run something on import."""
  packages = (tireid_jax, configs, benchmarks.gpu)
  names = [m.name for package in packages for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
  return [name for name in names if not name.endswith(("__main__", "exporting.example"))]


def main():
  failed = 0
  for name in modules():
    try:
      importlib.import_module(name)
    except ImportError as error:
      failed += 1
      print(f"{name}: {error}")
  print(f"{len(modules()) - failed} modules imported, {failed} failed, Python {sys.version.split()[0]}")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
