"""The names and commands that other programs use, tested from a folder outside the repository."""

import os
import subprocess
import sys

import pytest

from tests import commands, forked

COMMANDS = (
  "main",
  "evaluate",
  "compare",
  "export",
  "demo",
  "plan",
  "pretrain",
  "replay",
  "report",
  "search",
  "serve",
  "study",
  "data.prepare",
  "data.toy",
)

# Imports and keyword arguments as in other programs.
PROGRAM = """
import inspect

from tireid_jax.data.tokenizer import tokenize
from tireid_jax.losses import cmpm_loss, identity_loss, itc_loss, sdm_loss
from tireid_jax.metrics import rank_metrics, retrieval_metrics
from tireid_jax.models.clip import CLIP
from tireid_jax.models.pretrained import load
import tireid_jax.data.tokenizer, tireid_jax.losses, tireid_jax.metrics, tireid_jax.models.pretrained
import tireid_jax.configs.cuhk

def takes(function, *arguments, **named):
  inspect.signature(function).bind(*arguments, **named)

takes(sdm_loss, "image", "text", "person_id", temperature=0.02)
takes(itc_loss, "image", "text", temperature=0.02)
takes(itc_loss, "image", "text", temperature=0.02, person_id="person_id")
takes(cmpm_loss, "image", "text", "person_id")
takes(identity_loss, "image_logits", "text_logits", "labels")
takes(rank_metrics, "similarity", query_ids="query_ids", gallery_ids="gallery_ids")
takes(retrieval_metrics, "query", "gallery", query_ids="query_ids", gallery_ids="gallery_ids")
takes(CLIP.encode_image, "clip", "images")
takes(CLIP.encode_text, "clip", "tokens")
takes(load, "openai/clip-vit-base-patch16", image_size=(384, 128))

metrics = rank_metrics([[0.9, 0.1], [0.8, 0.2]], [1, 2], [1, 2])
assert set(metrics) == {"R@1", "R@5", "R@10", "mAP", "mINP"}, metrics
assert metrics["R@1"] == 50.0, metrics
tokens = tokenize(["a woman in a red coat"], length=77)
assert tokens.shape == (1, 77) and tokens.dtype == "int32", tokens
print(tireid_jax.losses.__file__)
"""


def run_outside(tmp_path, *arguments):
  """Runs Python in an empty folder, with the checkout on its path."""
  environment = commands.environment(PYTHONPATH=os.fspath(commands.ROOT))
  return subprocess.run(
    [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
  )


def test_public_names_are_real_modules_with_the_documented_parameters(tmp_path):
  done = run_outside(tmp_path, "-c", PROGRAM)
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == os.fspath(commands.ROOT / "tireid_jax" / "losses.py")
  assert not list(tmp_path.iterdir())


def test_a_command_in_a_separate_process_runs_outside_the_repository(tmp_path):
  done = run_outside(tmp_path, "-m", "tireid_jax.main", "--help")
  assert done.returncode == 0, done.stderr
  assert "--workdir=VALUE" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_lists_its_flags_and_reports_bad_input_in_one_line(name, tmp_path):
  done = forked.run(name, "--help", folder=tmp_path)
  assert done.returncode == 0, done.stderr
  assert f"python -m tireid_jax.{name} " in done.stdout  # the description shows how to call it
  assert "--[no]traceback" in done.stdout
  # No command does anything without a flag or an argument; --config=cuhk is one of the package's configs.
  config = () if name in ("compare", "replay", "report", "export") else ("--config=cuhk",)
  done = forked.run(name, *config, "--no_such_flag", folder=tmp_path)
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1].startswith("error: Unknown command line flag 'no_such_flag'"), done.stderr
  assert not list(tmp_path.iterdir())
