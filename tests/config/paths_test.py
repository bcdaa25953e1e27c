"""Every flag and field for a path expands `~`, is named in errors, and means the same from any working directory."""

import ast
import json
import subprocess
import sys

import pytest

from configs import common, custom, rstp
from tests.commands import ROOT, environment
from tests.data.trees import make_tree
from tireid_jax.config import paths
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError

# {(command, flag for a path): other arguments that the command needs before it reads this flag}.
PLAN = ("--config=configs/rstp.py", "--stage=1", "--topology=cpu:1", "--sweep")
MAIN = ("--config=configs/rstp.py", "--workdir=/nowhere/w")
SEARCH = ("--gallery=.", "--query=x")
SERVE = ("--gallery=.", "--port=0")
PATHS = {
  ("main", "config"): (),
  ("main", "workdir"): ("--config=configs/rstp.py",),
  ("main", "config.data_dir"): MAIN,
  ("main", "config.pretrained"): MAIN,
  ("main", "config.stage2.init_from"): MAIN,
  ("main", "config.data.tokenizer"): MAIN,
  ("evaluate", "config"): (),
  ("evaluate", "data"): (),
  ("evaluate", "workdir"): (),
  ("evaluate", "dump"): ("--workdir=/nowhere",),
  ("evaluate", "config.pretrained"): ("--config=configs/rstp.py", "--stage=pretrained"),
  ("export", "workdir"): ("--to=/nowhere/to",),
  ("export", "to"): ("--workdir=/nowhere",),
  ("demo", "config"): (),
  ("demo", "to"): (),
  ("plan", "config"): (),
  ("plan", "json"): PLAN,
  ("plan", "plot"): PLAN,
  ("pretrain", "config"): (),
  ("pretrain", "workdir"): ("--config=configs/toy_clip.py",),
  ("data.prepare", "config"): (),
  ("data.prepare", "raw"): ("--config=configs/rstp.py",),
  ("data.prepare", "page"): ("--config=configs/rstp.py", "--raw=/nowhere"),
  ("data.prepare", "config.data.tokenizer"): ("--config=configs/custom.py", "--raw=RAW"),
  ("data.prepare", "config.data_dir"): ("--config=configs/custom.py", "--raw=RAW"),
  ("data.prepare", "config.custom.annotations"): ("--config=configs/custom.py", "--raw=RAW"),
  ("data.prepare", "config.custom.images"): ("--config=configs/custom.py", "--raw=RAW"),
  ("data.toy", "config"): (),
  ("data.toy", "to"): ("--config=configs/toy.py",),
  ("compare", ""): ("W1",),
  ("report", "workdir"): (),
  ("report", "data"): ("--workdir=/nowhere",),
  ("report", "to"): ("--workdir=/nowhere",),
  ("report", "raw"): ("--workdir=/nowhere",),
  ("search", "config"): (),
  ("search", "workdir"): SEARCH,
  ("search", "pretrained"): SEARCH,
  ("search", "gallery"): ("--pretrained=/nowhere", "--query=x"),
  ("search", "index"): ("--gallery=.", "--pretrained=/nowhere", "--query=x"),
  ("search", "boxes"): ("--gallery=.", "--pretrained=/nowhere", "--query=x"),
  ("search", "queries"): ("--gallery=.", "--pretrained=/nowhere"),
  ("search", "html"): ("--gallery=.", "--pretrained=/nowhere", "--query=x"),
  ("serve", "config"): (),
  ("serve", "workdir"): SERVE,
  ("serve", "pretrained"): SERVE,
  ("serve", "gallery"): ("--pretrained=/nowhere", "--port=0"),
  ("serve", "index"): ("--pretrained=/nowhere", *SERVE),
  ("serve", "boxes"): ("--pretrained=/nowhere", *SERVE),
  ("serve", "token_file"): ("--pretrained=/nowhere", *SERVE),
  ("study", "config"): (),
  ("study", "workdir"): ("--config=configs/rstp.py",),
  ("study", "results"): MAIN,
  ("study", "config.pretrained"): MAIN,
}
INVALID = ("~nobody-of-this-name/x", "s3://b/x")
# {flag: what may precede its path}.
PREFIXES = {"index": ("milvus:",)}
# Flags and fields whose text is not a path.
OTHERS = {
  "stage",
  "seeds",
  "profile",
  "topology",
  "split",
  "coordinator",
  "query",
  "filter",
  "host",
  "table",
  "allowed_host",
  "persons",
}
OTHER_FIELDS = {
  "ablation", "select_on", "select_by", "pretrained_prefix", "data.name", "model.variant", "model.activation",
  "model.position_resize", "model.blocks", "model.remat", "model.attention", "prompts.placement", "mesh.dcn_axis",
  "stage.data", "stage.optimizer", "stage.sampler.kind", "stage.schedule_by", "stage.precision", "study.held_out",
}  # fmt: skip
# Runs each command in a fork of a process with the slow imports already done; prints exit statuses and errors.
RUN_ALL = """
import json, os, runpy, sys, tempfile
import tireid_jax.main, tireid_jax.evaluate, tireid_jax.export, tireid_jax.compare, tireid_jax.demo
import tireid_jax.data.prepare, tireid_jax.data.toy.write, tireid_jax.plan.estimate, tireid_jax.search.searcher
import tireid_jax.report.analysis
import tireid_jax.study.running
for module, arguments in json.loads(sys.argv[1]):
  with tempfile.TemporaryFile() as errors:
    child = os.fork()
    if not child:
      os.dup2(errors.fileno(), 2)
      sys.argv = [module, *arguments]
      for name in [f"tireid_jax.{module}", f"tireid_jax.{module}.__main__"]:
        sys.modules.pop(name, None)
      status = 0
      try:
        runpy.run_module(f"tireid_jax.{module}", run_name="__main__", alter_sys=True)
      except SystemExit as end:
        status = end.code
      sys.stderr.flush()
      os._exit(status or 0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    errors.seek(0)
    print(json.dumps([status, errors.read().decode()]), flush=True)
"""


def defined_flags():
  """Returns the set of (command, flag) for all flags whose value is text."""
  found = set()
  for path in sorted((ROOT / "tireid_jax").rglob("*.py")):
    if "__main__" not in path.read_text():
      continue
    command = ".".join(path.relative_to(ROOT / "tireid_jax").with_suffix("").parts).removesuffix(".__main__")
    for node in ast.walk(ast.parse(path.read_text())):
      name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
      if name in ("DEFINE_string", "DEFINE_list", "DEFINE_multi_string", "define_flag"):
        found.add((command, node.args[0].value))
  return found


def text_fields(config, prefix=""):
  for name, value in config.items():
    if hasattr(value, "items"):
      yield from text_fields(value, f"{prefix}{name}.")
    elif isinstance(value, str):
      yield f"{prefix}{name}"


def test_every_text_flag_is_listed_as_a_path_or_as_no_path():
  assert {flag for flag in defined_flags() if flag not in PATHS and flag[1] not in OTHERS} == set()


def test_every_text_field_is_listed_as_a_path_or_as_no_path():
  fields = set(text_fields(common.base_config()))
  known = {*paths.FOLDERS, *paths.SOURCES, *paths.TOKENIZERS}
  assert known <= fields
  stages = {f"stage{n}{name.removeprefix('stage')}" for n in (0, 1, 2) for name in OTHER_FIELDS if name[:6] == "stage."}
  assert fields - known - stages - OTHER_FIELDS == set()
  assert {"annotations", "images"} <= set(text_fields(custom.get_config("").custom))


def test_every_path_flag_is_named_in_the_error_for_an_invalid_path(tmp_path):
  root = make_tree(tmp_path / "raw", "rstp_reid")
  (root / "images").mkdir()
  (root / "annotations.csv").write_text("image,id,caption\n")
  cases = []
  for (command, flag), others in PATHS.items():
    for value in (f"{prefix}{path}" for prefix in ("", *PREFIXES.get(flag, ())) for path in INVALID):
      given = f"--{flag}={value}" if flag else value
      section = flag.split(".")[0]
      rest = [other.replace("RAW", str(root)) for other in others if other.split("=")[0] != f"--{flag}"]
      cases.append((command, [*rest, given], flag if flag in ("config", "data") and section == flag else "", given))
  done = subprocess.run(
    [sys.executable, "-c", RUN_ALL, json.dumps([case[:2] for case in cases])],
    cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600, check=True,
  )  # fmt: skip
  results = [json.loads(line) for line in done.stdout.splitlines()]
  assert len(results) == len(cases)
  for (command, _, is_file, given), (status, errors) in zip(cases, results, strict=True):
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")] or [f"no error: {errors[-2000:]}"]
    named = given.partition("=")[2] if is_file else given
    expected = ": there is no such user" if "nobody" in given else (" is not supported;", " must be a local path;")
    assert status == 2, (command, given, errors[-2000:])
    assert named in line, (command, given, line)
    assert any(text in line for text in ([expected] if isinstance(expected, str) else expected)), (command, given, line)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  for name in ("data", "clip", "owner/model", "words"):
    (tmp_path / name).mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path))
  return tmp_path


@pytest.mark.parametrize(
  ("given", "stored"),
  [
    ("clip", "{}/clip"), ("./clip", "{}/clip"), ("~/clip", "{}/clip"), ("owner/model", "{}/owner/model"),
    ("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"), ("ViT-B/16", "ViT-B/16"), ("stage0", "stage0"),
    ("", ""), ("gs://bucket/run", "gs://bucket/run"), ("~/nowhere", "{}/nowhere"), ("nowhere", "nowhere"),
    ("data/../clip", "{}/clip"), ("link/../other", "{}/link/../other"),
  ],
)  # fmt: skip
def test_existing_paths_become_absolute_and_names_are_kept(folder, given, stored):
  (folder / "owner/other").mkdir()
  (folder / "link").symlink_to("owner/model")
  config = rstp.get_config()
  config.pretrained = config.stage2.init_from = given
  found = paths.with_absolute_paths(config)
  assert found.pretrained == found.stage2.init_from == stored.format(folder)
  assert config.pretrained == given
  assert (found.data_dir, found.stage1.init_from) == (f"{folder}/data", "pretrained")


def test_a_value_that_is_too_long_for_a_path_raises_one_line():
  config = rstp.get_config()
  config.pretrained = 300 * "x"
  with pytest.raises(UserError, match="^x{300}: file name too long; choose a shorter path$"):
    paths.with_absolute_paths(config)


def test_a_keyword_does_not_mean_a_folder_of_that_name(folder):
  (folder / "stage1").mkdir()
  assert paths.with_absolute_paths(rstp.get_config()).stage2.init_from == "stage1"
  assert not paths.is_same("stage1", f"{folder}/stage1")


def test_different_spellings_of_one_path_are_the_same(folder):
  (folder / "link").symlink_to("clip")
  for other in ("./clip", "clip/", "data/../clip", f"{folder}/clip", "link", "~/clip"):
    assert paths.is_same("clip", other)
  assert paths.is_same("nowhere", "./nowhere/")
  for first, second in (("clip", "data"), ("", "clip"), ("", "."), ("openai/clip", "openai/other"), ("clip", None)):
    assert not paths.is_same(first, second)


def test_a_workdir_of_an_older_version_that_stored_relative_paths_is_the_same_run(folder):
  old = rstp.get_config()
  old.stage2.init_from, old.data.tokenizer = "clip", "words"
  requested_config = paths.with_absolute_paths(old)
  assert requested_config.stage2.init_from == f"{folder}/clip"
  assert config_lib.differences(config_lib.to_json(old), config_lib.to_json(requested_config), (2,)) == []
  requested_config.stage2.init_from = f"{folder}/owner/model"
  (line,) = config_lib.differences(config_lib.to_json(old), config_lib.to_json(requested_config), (2,))
  assert line == f"stage2.init_from: 'clip' in the workdir, '{folder}/owner/model' requested"
