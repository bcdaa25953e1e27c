"""pyproject.toml, the requirements files and launch/ agree."""

import importlib.metadata
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.commands import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13")


def pins(name):
  """Returns the Requirements of a file, without those of the files that it includes."""
  lines = [line.split(" #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
  return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def ranges(requirements):
  """Returns {canonical name: Requirement}."""
  return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, requirements)}


@pytest.mark.parametrize(
  ("files", "required"),
  [
    (["requirements.txt"], "dependencies"),
    (["requirements-gcs.txt"], "gcs"),
    (["requirements-milvus.txt"], "milvus"),
    (["requirements-serve.txt"], "serve"),
    (
      ["requirements-dev.txt", "requirements-gcs.txt", "requirements-milvus.txt", "requirements-serve.txt"],
      "dev",
    ),
  ],
)
def test_pinned_versions_are_of_the_required_packages_and_in_their_ranges(files, required):
  required = ranges(
    PROJECT["dependencies"] if required == "dependencies" else PROJECT["optional-dependencies"][required]
  )
  pinned = [pin for file in files for pin in pins(file)]
  assert {canonicalize_name(pin.name) for pin in pinned} == set(required)
  for pin in pinned:
    (version,) = pin.specifier
    assert version.operator == "=="
    assert required[canonicalize_name(pin.name)].specifier.contains(version.version), pin


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "requirements-tpu.txt"])
@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_version_has_one_pin_per_package(file, python):
  pinned = pins(file)
  chosen = [pin.name for pin in pinned if pin.marker is None or pin.marker.evaluate({"python_version": python})]
  assert sorted(chosen) == sorted({pin.name for pin in pinned})


def test_libtpu_is_the_version_that_jax_requires():
  (required,) = [need for need in map(Requirement, importlib.metadata.requires("jax")) if need.name == "libtpu"]
  pinned = [pin for pin in pins("requirements-tpu.txt") if pin.marker.evaluate()]
  assert [required.specifier.contains(version.version) for pin in pinned for version in pin.specifier] == [True]


def test_the_extra_for_gpus_is_the_one_that_launch_installs():
  (gpu,) = ranges(PROJECT["optional-dependencies"]["gpu"]).values()
  hardware = re.search(r"^hardware=(cuda\d+)$", (ROOT / "launch/sky.sh").read_text(), re.MULTILINE)
  assert hardware is not None
  assert gpu.extras == {hardware[1]}


def test_the_oldest_supported_python_is_the_first_tested_one():
  makefile = re.search(r"^PYTHONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
  assert makefile is not None
  assert tuple(makefile[1].split()) == PYTHONS
  assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
