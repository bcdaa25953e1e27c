"""How far prompts moved from where they were initialised, for runs of several histories, and their nearest words."""

import types

import jax
import numpy as np
import pytest

from configs import toy
from tests import exports
from tests.search.searching import SIZE, VARIANT
from tireid_jax.data.tokenizer import tokenize
from tireid_jax.errors import UserError
from tireid_jax.parallel import sharding
from tireid_jax.report import prompts
from tireid_jax.training import initialization, stages
from tireid_jax.training.program import Program

RANDOM = {"kind": "random", "seed": 0}
STAGE_1 = {"kind": "checkpoint", "folder": "stage1", "stage": 1, "step": 7}
SPLIT = types.SimpleNamespace(tokens=tokenize(["a red coat", "the man"]))


def initial_prompts(model, number):
  """Returns the prompts with which stage `number` of a run begins."""
  config = toy.get_config()
  spec = model.prompts
  config.prompts.update(image_length=spec.image_length, text_length=spec.text_length, depth=spec.depth)
  config.data.image_size, config.stage2.use_prompts = SIZE, True
  stage, mesh = stages.from_config(config, number), sharding.make_mesh(1, 1, 1)
  program = Program(config, stage, VARIANT, mesh, num_identities=5, steps_per_epoch=1)
  return jax.jit(lambda: initialization.random_variables(model, program.key, 5)["prompts"])()


@pytest.fixture(scope="module")
def clip():
  return exports.random_clip(SIZE, exports.PROMPTS, variant=VARIANT)


def section(clip, learned, workdir, stage="2"):
  model, variables = clip
  loaded = types.SimpleNamespace(model=model, variables={**variables, "prompts": learned}, config=toy.get_config())
  return prompts.prompts_section(loaded, SPLIT, workdir, stage)


def distances(found):
  return [[float(bar.value.partition(",")[0]) for bar in part.bars] for part in found.parts if part.kind == "bars"]


def shifted(tree):
  """Adds 0.5 to every element of block 2 of the text encoder's prompts."""
  tokens = tree["text_encoder"]["tokens"]
  return {**tree, "text_encoder": {"tokens": tokens.at[1].add(0.5)}}


@pytest.mark.parametrize(
  ("uses", "origins", "initialised_by"),
  [
    ({1: True, 2: True}, {1: RANDOM, 2: STAGE_1}, 1),
    ({1: False, 2: True}, {1: RANDOM, 2: STAGE_1}, 2),  # encoders first: stage 1 has no prompts
    ({2: True}, {2: RANDOM}, 2),
  ],
)
def test_the_distance_is_that_from_the_prompts_of_the_stage_that_initialised_them(
  clip, tmp_path, uses, origins, initialised_by
):
  for number, used in uses.items():
    exports.write_run(tmp_path, *clip, use_prompts=used, number=number, origin=origins[number])
  first = initial_prompts(clip[0], initialised_by)
  width = VARIANT.text.width
  found = section(clip, shifted(first), tmp_path)
  assert distances(found) == [[0.0, 0.0], [0.0, round(0.5 * width**0.5, 3)]]
  assert [part.heading.partition(":")[0] for part in found.parts] == ["Image encoder", "Text encoder", "Text encoder"]


@pytest.mark.parametrize(
  ("origin", "reason"),
  [
    (None, "an earlier version did not record what the stage started from"),
    ({"kind": "checkpoint", "folder": "/nowhere/stage1"}, "they come from /nowhere/stage1: "),
  ],
)
def test_without_a_known_start_a_line_says_so_and_the_words_are_shown(clip, tmp_path, origin, reason):
  exports.write_run(tmp_path, *clip, origin=origin)
  found = section(clip, clip[1]["prompts"], tmp_path)
  assert reason in found.hint
  assert [part.kind for part in found.parts] == ["rows"]


def test_prompts_from_a_run_in_a_bucket_are_looked_up_there(clip, tmp_path, monkeypatch):
  def check(path):
    if str(path).startswith("gs:"):
      raise UserError(f"{path} cannot be read")
    return path

  monkeypatch.setattr(prompts.locations, "check", check)
  exports.write_run(tmp_path, *clip, origin={"kind": "checkpoint", "folder": "gs://bucket/run/stage1"})
  found = section(clip, clip[1]["prompts"], tmp_path)
  assert "they come from gs://bucket/run/stage1: gs://bucket/run/stage1 cannot be read." in found.hint


def test_the_nearest_words_are_whole_words_of_the_vocabulary_and_of_the_captions(clip, tmp_path):
  exports.write_run(tmp_path, *clip, origin=RANDOM)
  _, variables = clip
  table = np.asarray(variables["params"]["text_encoder"]["token_embedding"]["embedding"])
  (jekyll, coat) = tokenize(["jekyll"])[0, 1], tokenize(["coat"])[0, 1]
  tokens = variables["prompts"]["text_encoder"]["tokens"].at[1, 0].set(2 * table[jekyll]).at[1, 1].set(table[coat])
  learned = {**variables["prompts"], "text_encoder": {"tokens": tokens}}
  (rows,) = [part.table for part in section(clip, learned, tmp_path).parts if part.kind == "rows"]
  assert [row["prompt token"].text for row in rows] == [
    "block 1, token 1", "block 1, token 2", "block 2, token 1", "block 2, token 2",
  ]  # fmt: skip
  assert rows[2]["in the vocabulary"].text.startswith("jekyll 1.00, ")
  assert "jekyll" not in rows[2]["in the captions"].text
  assert rows[3]["in the captions"].text.startswith("coat 1.00, ")
  assert rows[3]["in the captions"].css == rows[3]["in the vocabulary"].css == "highest"


def test_a_model_without_prompts_or_without_those_of_the_text_encoder_has_a_line(clip, tmp_path):
  assert section(clip, {}, tmp_path).hint == "This model has no prompts."
  exports.write_run(tmp_path, *clip, origin=RANDOM)
  found = section(clip, {"image_encoder": clip[1]["prompts"]["image_encoder"]}, tmp_path)
  assert found.hint.endswith("The text encoder has none, so there are no nearest words.")
  assert [part.kind for part in found.parts] == ["bars"]
