"""Imports point down only: the lower a file, the less it may know."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "tireid_jax"

# Highest first. A file imports only from layers below its own; those of one layer may import each other.
LAYERS = [
  {"demo"},
  {"main", "evaluate", "compare", "export", "plan", "replay"},
  {"train"},
  {"preflight", "program", "diverged"},
  {"start", "origin", "retrieval", "report", "exported"},
  {"train_step", "checkpoint", "chosen", "hooks", "profiling", "workdir", "optim", "ranked", "cli"},
  {"checkpoint_scores"},
  {"config", "data", "models", "log", "state", "metrics", "sharding", "trace", "digests", "orbax_errors", "checksum"},
  {"config_file", "lock", "paths"},
  {"lock_storage"},
  {
    "losses", "compiled", "accumulate", "stages", "mesh", "chart", "table", "progress", "export_example",
    "distributed", "op_source", "storage", "holder", "hub_errors",
  },
  {"errors"},
]  # fmt: skip
# These import nothing of ours but the errors.
ALONE = LAYERS[-2]


def part_of(module):
  """Returns the name by which LAYERS calls a module, "tireid_jax.data.synth.write" -> "data"."""
  return module.split(".")[1] if "." in module else ""


def imported(path):
  """Returns the modules of ours that a file imports."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names if alias.name.startswith("tireid_jax.")}
    elif isinstance(node, ast.ImportFrom) and node.module == "tireid_jax":
      found |= {f"tireid_jax.{alias.name}" for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tireid_jax."):
      found.add(node.module)
  return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


def name_of(path):
  return ".".join(["tireid_jax", *path.relative_to(PACKAGE).with_suffix("").parts])


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
  own = part_of(name_of(path))
  layer = {name: depth for depth, names in enumerate(LAYERS) for name in names}
  assert own in layer, f"{own} has no place in LAYERS"
  is_command = "__name__" in path.read_text()
  for module in imported(path):
    other = part_of(module)
    if other == own or (is_command and other == "cli"):
      continue
    assert layer[other] >= layer[own], f"{name_of(path)} imports {module}, which stands above it"
    assert own not in ALONE or other == "errors", f"{name_of(path)} imports {module}, but should know nothing of ours"


def test_models_know_no_data_and_data_knows_no_model():
  for path in FILES:
    own, others = part_of(name_of(path)), {part_of(module) for module in imported(path)}
    if own == "models":
      assert others <= {"models", "progress", "hub_errors", "errors"}, name_of(path)
    if own == "data":
      known = {"data", "progress", "cli", "config_file", "storage", "lock", "paths", "hub_errors", "errors"}
      assert others <= known, name_of(path)
