"""Imports point down only, between rooms and between files: a file may not import anything above it."""

import ast
import graphlib
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "tireid_jax"

# A room is a folder of the package, a file directly in the package or in data/, or one of four files that lie lower
# than the rest of their folders. From top to bottom: a file may import from its own room and from rooms below it.
ROOMS = [
  {"demo", "pretrain", "serve", "study"},
  {"report"},
  {"main", "evaluate", "compare", "export", "replay", "plan", "search", "data.prepare", "data.toy"},
  {"cli", "training"},
  {"evaluation", "exporting", "workdir", "profiling", "configs"},
  {"config", "data.preparation"},
  {"data.checks"},
  {"data.loader"},
  {"data.sampling"},
  {"data.prepared"},
  {"data.datasets", "data.transforms"},
  {"data.raw", "data.tokenizer"},
  {"data.text", "models", "reporting"},
  {"models.weights"},
  {"models.variants"},
  {"config.former", "config.paths"},
  {"storage"},
  {"training.optimizers", "metrics"},
  {"fields", "losses", "ranking", "parallel", "terminal", "data.permutation"},
  {"errors"},
]
# These may import only `errors` from the package.
ALONE = ROOMS[-2]


def room_of(module):
  """Returns the room of a module, "tireid_jax.data.toy.write" -> "data.toy"."""
  parts = module.split(".")[1:]
  while ".".join(parts) not in DEPTHS and len(parts) > 1:
    parts = parts[:-1]
  return ".".join(parts)


DEPTHS = {room: depth for depth, rooms in enumerate(ROOMS) for room in rooms}


def imported(path):
  """Returns the modules of the package that a file imports."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names if alias.name.startswith("tireid_jax.")}
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tireid_jax":
      for alias in node.names:
        name = f"{node.module}.{alias.name}"
        found.add(name if name in NAMES else node.module)
  return found - {"tireid_jax"}


def name_of(path):
  parts = path.relative_to(PACKAGE).with_suffix("").parts
  return ".".join(["tireid_jax", *(parts[:-1] if parts[-1] == "__init__" else parts)])


# The configs are a link to a folder, which not every version of Python follows.
FILES = {
  name_of(path): path
  for path in [*sorted({*PACKAGE.rglob("*.py")} - {*PACKAGE.glob("configs/*")}), *sorted(PACKAGE.glob("configs/*.py"))]
}
NAMES = FILES.keys()


@pytest.mark.parametrize("name", sorted(NAMES - {"tireid_jax"}))
def test_imports_point_down(name):
  own = room_of(name)
  is_package = FILES[name].name == "__init__.py"
  assert own in DEPTHS or is_package, f"{own} has no place in ROOMS"
  for module in imported(FILES[name]):
    other = room_of(module)
    is_command = "__name__" in FILES[name].read_text()
    if other == own or (is_command and other == "cli"):
      continue
    assert DEPTHS[other] > DEPTHS[own], f"{name} imports {module}, whose room does not lie below its own"
    assert own not in ALONE or other == "errors", f"{name} imports {module}, but should know nothing of ours"


def test_there_are_no_import_cycles():
  graph = {name: imported(path) - {name} for name, path in FILES.items()}
  list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_models_do_not_import_data_and_data_does_not_import_models():
  for name, path in FILES.items():
    rooms = {room_of(module) for module in imported(path)}
    if name.startswith("tireid_jax.models"):
      assert rooms <= {"models", "models.weights", "models.variants", "terminal", "storage", "fields", "errors"}, name
    if name.startswith("tireid_jax.data"):
      assert not rooms & {"models", "models.weights", "models.variants", "training", "evaluation", "workdir"}, name
