"""Targets, commands, flags, fields and files named in CI, hooks, templates and documents exist."""

import functools
import re
import shlex
import subprocess

import pytest
import yaml

from tests import commands, forked
from tireid_jax.configs import custom, toy

ROOT = commands.ROOT
WORKFLOW = ROOT / ".github/workflows/ci.yml"
DOCUMENTS = sorted(
  [*ROOT.glob("*.md"), *(path for folder in ("docs", "launch", "configs") for path in (ROOT / folder).glob("*.md"))]
  + [ROOT / folder / "README.md" for folder in ("benchmarks", "tests", "tests/mutants", "tireid_jax")]
)
# Documents in which all named commands belong to the project; others may also name those of other programs.
GUIDES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/gpu.md")]


def code_of(document):
  """Returns the code in a Markdown file, fenced or between backticks, with continued lines joined."""
  text = document.read_text()
  fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
  inline = re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
  return "\n".join([*fenced, *(" ".join(span.split()) for span in inline)]).replace("\\\n", " ")


def steps_of_workflow():
  workflow = yaml.safe_load(WORKFLOW.read_text())
  return [step for job in workflow["jobs"].values() for step in job["steps"]]


def make(*arguments):
  """Runs make for python3, also where these tests run below a make for another Python, and returns its result."""
  command = ["make", "--no-print-directory", "PYTHON=python3", *arguments]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def make_targets():
  """Returns the targets of the Makefile, with their names expanded."""
  database = make("-qp", "lint").stdout
  rules = re.sub(r"^# Not a target:\n.*\n", "", database, flags=re.MULTILINE)
  return set(re.findall(r"^([\w./-]+):", rules, re.MULTILINE))


def named_targets(code):
  return set(re.findall(r"\bmake ([a-z.][\w./-]*)", code))


@functools.cache
def usage(name):
  return forked.succeed(name, "--help")


def named_commands(code):
  """Returns [module, argument, ...] for each command of the package."""
  found = re.findall(r"python -m tireid_jax\.([\w.]+)([^\n;&|#]*)", code)
  return [[name, *shlex.split(arguments)] for name, arguments in found]


def test_the_workflow_only_calls_ci_run():
  assert [step["run"] for step in steps_of_workflow() if "run" in step] == [".ci/run"]
  assert (ROOT / ".ci/run").stat().st_mode & 0o111
  assert yaml.safe_load(WORKFLOW.read_text())[True] == {"push": {"branches": ["main"]}, "pull_request": None}  # "on"


@pytest.mark.parametrize("path", [".ci/run", ".pre-commit-config.yaml", *(str(p.relative_to(ROOT)) for p in GUIDES)])
def test_named_make_targets_exist(path):
  named = named_targets(code_of(ROOT / path) if path.endswith(".md") else (ROOT / path).read_text())
  assert named
  assert named <= make_targets()


def test_hooks_run_the_commands_of_make_lint():
  (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
  assert repository["repo"] == "local"
  assert {(hook["language"], hook["pass_filenames"]) for hook in repository["hooks"]} == {("system", False)}
  printed = make("--dry-run", "--always-make", "lint")
  assert printed.returncode == 0
  lint = printed.stdout.splitlines()
  installation = next(number for number, line in enumerate(lint) if line == "touch .venv/dev")
  assert [hook["entry"] for hook in repository["hooks"]] == lint[installation + 1 :]


@pytest.mark.parametrize("name", ["bug_report.yml", "feature_request.yml"])
def test_issue_forms_have_what_github_requires(name):
  form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / name).read_text())
  assert {"name", "description", "body"} <= set(form)
  fields = [field for field in form["body"] if field["type"] in ("textarea", "input")]
  assert fields == form["body"]
  assert all(field["attributes"]["label"] for field in fields)
  assert len({field["id"] for field in fields}) == len(fields)


def test_the_bug_report_form_asks_for_the_version():
  form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text())
  assert "`python -m tireid_jax.main --version`" in form["body"][0]["attributes"]["description"]
  assert "--[no]version" in usage("main")


def test_commands_are_found_in_fenced_code_and_between_backticks(tmp_path):
  document = tmp_path / "guide.md"
  document.write_text(
    "Use `make\nlint`, or make sure of it with `python -m tireid_jax.main --seeds=0`.\n\n"
    "```\nmake .venv/dev  # once\npython -m tireid_jax.plan \\\n  --stage=2 && true\n```\n"
  )
  code = code_of(document)
  assert named_targets(code) == {"lint", ".venv/dev"}
  assert sorted(named_commands(code)) == [["main", "--seeds=0"], ["plan", "--stage=2"]]


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: path.name)
def test_named_commands_have_the_named_flags(document):
  named = named_commands(code_of(document))
  assert named or document.name != "README.md"
  for name, *arguments in named:
    for argument in arguments:
      flag = re.match(r"--(no)?([a-z_]+)", argument)
      assert flag is None or re.search(rf"^  --(\[no\])?{flag[2]}\b", usage(name), re.MULTILINE), (
        f"{name} has no flag {argument}"
      )


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: path.name)
def test_named_config_fields_exist(document):
  for field in re.findall(r"--config\.([\w.]+)", code_of(document)):
    section = custom.get_config() if field.startswith("custom.") else toy.get_config()
    for part in field.split("."):
      if part not in ("FIELD", "NAME"):
        assert part in section, f"there is no config.{field}"
        section = section[part]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_files_exist(document):
  for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
    if not target.startswith(("http:", "https:")):
      assert (document.parent / target).exists(), target


def test_modules_named_in_the_changelog_exist():
  table = (ROOT / "CHANGELOG.md").read_text().partition("### Moved modules")[2]
  rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
  assert len(rows) > 50
  for before, now in rows:
    assert not (ROOT / "tireid_jax" / before.strip(" `")).is_file(), before
    for path in re.findall(r"`([^`]+)`", now):
      assert (ROOT / "tireid_jax" / path).exists(), path


def test_the_readme_lists_every_folder_of_the_package():
  tree = re.search(r"^tireid_jax/\n(.*?)^launch/", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
  assert tree is not None
  listed = set(re.findall(r"^  ([\w/]+)/ ", tree[1], re.MULTILINE))
  package = ROOT / "tireid_jax"
  folders = {str(file.parent.relative_to(package)) for file in package.rglob("__init__.py")}
  assert listed == folders - {".", "configs"}


def test_no_two_test_files_that_run_together_have_the_same_name():
  """pytest imports a test file by its name alone, since folders of tests are no packages."""
  separate = {ROOT / "tests" / name for name in ("parity", "tpu")}
  names = [path.name for path in (ROOT / "tests").rglob("*_test.py") if not separate & set(path.parents)]
  assert sorted(names) == sorted(set(names))
