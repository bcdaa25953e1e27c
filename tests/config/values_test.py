import json

import pytest
from absl import flags

from configs import common, cuhk, custom, icfg, rstp, toy, toy_clip
from tests.commands import ROOT
from tireid_jax.config import values as config_lib
from tireid_jax.errors import UserError
from tireid_jax.training import stages
from tireid_jax.training.model import build_model, find_variant

CONFIGS = {"cuhk": cuhk, "icfg": icfg, "rstp": rstp, "custom": custom, "toy": toy}


@pytest.mark.parametrize("ablation", ["", *common.ABLATIONS])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_ablation_of_every_config_gives_valid_stages_and_a_model(name, ablation):
  config = CONFIGS[name].get_config(ablation)
  config_lib.check(config)
  assert config.ablation == ablation
  for number in config_lib.stage_numbers(config, "all"):
    variant = find_variant(config, source=None)
    build_model(config, variant, use_prompts=stages.from_config(config, number).use_prompts, precision="float32")
  assert 0 not in config_lib.stage_numbers(config, "all")


def test_reversed_swaps_the_recipes_but_not_the_initial_weights():
  usual, swapped = cuhk.get_config(), cuhk.get_config("reversed")
  assert swapped.stage1.trains == ("params",)
  assert swapped.stage1.learning_rate == usual.stage2.learning_rate
  assert swapped.stage2.trains == ("prompts",)
  assert swapped.stage2.learning_rate == usual.stage1.learning_rate
  assert (swapped.stage1.init_from, swapped.stage2.init_from) == ("pretrained", "stage1")


def test_prompts_that_are_trained_together_with_encoders_have_the_recipe_of_stage_1():
  usual, joint = cuhk.get_config(), cuhk.get_config("joint")
  rate = joint.stage2.learning_rate * joint.stage2.prompt_lr_factor
  assert (rate, joint.stage2.learning_rate) == (pytest.approx(usual.stage1.learning_rate), usual.stage2.learning_rate)
  assert (joint.stage2.prompt_adam_eps, joint.stage2.adam_eps) == (1e-8, 1e-3)
  assert (joint.stage2.prompt_weight_decay, joint.stage2.weight_decay) == (1e-4, 4e-5)


def test_rows_of_equal_cost_take_as_many_steps_as_both_stages():
  config = cuhk.get_config()
  both = config.stage1.epochs + config.stage2.epochs
  for row in ("no_prompts_long", "no_stage1_long", "joint_long", "prompts_only_long_stage2_losses"):
    assert cuhk.get_config(row).stage2.epochs == both
  assert cuhk.get_config("prompts_only_long").stage1.epochs == both
  config.stage1.batch_size = 32  # twice as many steps an epoch
  assert common.with_ablation(config, "no_prompts_long").stage2.epochs == 60 + 2 * 10


def test_baselines_are_independent_of_changes_to_stage_2():
  assert dict(toy.get_config("irra_like").stage2.losses) == dict(cuhk.get_config("irra_like").stage2.losses)
  assert toy.get_config("irra_like").stage2.learning_rate == 1e-5
  assert {n for n, w in cuhk.get_config("clip_baseline").stage2.losses.items() if w} == {"itc_plain"}


def test_an_unknown_ablation_is_an_error_with_the_closest_name():
  with pytest.raises(ValueError, match=r"there is no ablation 'no_promts' \(did you mean 'no_prompts'\?\); all: no_"):
    cuhk.get_config("no_promts")


def test_a_config_is_unchanged_by_conversion_to_json_and_back():
  config = toy.get_config()
  data = json.loads(json.dumps(config_lib.to_json(config)))
  assert config_lib.from_json(data).to_dict() == config.to_dict()


def test_differences_cover_only_the_model_the_data_and_the_given_stages():
  old, new = toy.get_config(), toy.get_config()
  new.stage2.learning_rate = 1.0
  new.data_dir = "elsewhere"
  new.log_every_steps = 7
  new.mesh.data = 1
  new.model.remat = "full"
  new.model.attention = "xla"
  new.stage1.microbatch_size = 16
  before, after = config_lib.to_json(old), config_lib.to_json(new)
  assert config_lib.differences(before, after, (0, 1)) == []
  assert config_lib.differences(before, after, (0, 1, 2)) == [
    f"stage2.learning_rate: {old.stage2.learning_rate} in the workdir, 1.0 requested"
  ]
  new.prompts.depth = 1
  assert config_lib.differences(before, config_lib.to_json(new), ()) == [
    f"prompts.depth: {old.prompts.depth} in the workdir, 1 requested"
  ]


@pytest.mark.parametrize(
  ("field", "value", "is_another_run"),
  [
    ("data.name", "icfg_pedes", True), ("model.activation", "gelu", True), ("prompts.init_std", 0.5, True),
    ("temperature", 0.5, True), ("seed", 99, True), ("select_on", "last", True), ("select_by", "t2i/mAP", True),
    ("toy.num_train_ids", 7, True), ("pool.seed", 7, True), ("stage1.epochs", 7, True), ("stage2.epochs", 7, False),
    ("data.use_exif", False, False), ("pool.folder", "elsewhere", False), ("model.blocks", "loop", False),
    ("model.remat", "full", False), ("model.attention", "xla", False), ("stage1.microbatch_size", 2, False),
  ],
)  # fmt: skip
def test_only_these_fields_make_stage_1_another_run(field, value, is_another_run):
  config = (toy_clip if field.startswith("pool") else toy).get_config()
  before = config_lib.to_json(config)
  section, _, name = field.rpartition(".")
  inner = config[section] if section else config
  assert inner[name] != value
  inner[name] = value
  found = config_lib.differences(before, config_lib.to_json(config), (1,))
  assert [line.partition(":")[0] for line in found] == [field] * is_another_run


def test_a_workdir_older_than_a_field_has_the_behaviour_of_its_time():
  config = toy.get_config()
  before, after = config_lib.to_json(config), config_lib.to_json(config)
  del before["prompts"]["placement"]
  assert config_lib.differences(before, after, ()) == []
  after["prompts"]["placement"] = "front"
  assert config_lib.differences(before, after, ()) == ["prompts.placement: 'deep' in the workdir, 'front' requested"]


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("temperature", 0.0, "temperature is 0.0; it must be above 0"),
    ("select_by", "t2i/r@1", "select_by is 't2i/r@1' (did you mean 't2i/R@1'?); it must be one of t2i/R@1, t2i/R@5"),
    ("select_by", "R@1", "select_by is 'R@1'"),
    ("select_on", "valid", "select_on is 'valid' (did you mean 'val'?)"),
    ("stages", (1, 3), "the stages are 0, 1 and 2"),
    ("log_every_steps", 0, "log_every_steps is 0; it must be at least 1"),
  ],
)
def test_invalid_values_are_rejected(field, value, message):
  config = cuhk.get_config()
  config[field] = value
  with pytest.raises(ValueError) as error:
    config_lib.check(config)
  assert message in str(error.value)


@pytest.mark.parametrize("lengths", [(77, 32), (32, 64), (2, 77), (32, 32, 77)])
def test_caption_lengths_must_ascend_to_77(lengths):
  config = cuhk.get_config()
  config.data.caption_lengths = lengths
  with pytest.raises(ValueError, match="that ascend from at least 3 and end with 77"):
    config_lib.check(config)


@pytest.mark.parametrize("data", [{"model": {"bright.ness": 1}}, [1], "a"])
def test_stored_data_that_is_not_a_config_raises_one_line(data):
  with pytest.raises(UserError, match=r"^this is not a config: [^\n]*$"):
    config_lib.from_json(data)


def test_a_field_that_only_one_of_two_configs_has_is_a_difference():
  before = config_lib.to_json(toy.get_config())
  after = config_lib.to_json(toy.get_config())
  after["data"]["brightness"] = 2
  assert config_lib.differences(before, after, ()) == ["data.brightness: None in the workdir, 2 requested"]
  assert config_lib.differences(after, before, ()) == ["data.brightness: 2 in the workdir, None requested"]


def test_fields_covered_by_the_data_fingerprint_and_spellings_of_a_path_are_not_differences(tmp_path):
  (tmp_path / "folder").mkdir()
  (tmp_path / "link").symlink_to("folder")
  old, new = toy.get_config(), toy.get_config()
  old.data.use_exif, new.data.use_exif = False, True
  old.data.tokenizer, new.data.tokenizer = str(tmp_path / "folder"), str(tmp_path / "link")
  old.stage1.init_from, new.stage1.init_from = str(tmp_path / "link"), str(tmp_path / "folder")
  old.pretrained, new.pretrained = "a", "b"  # weights are compared by their digests
  assert config_lib.differences(config_lib.to_json(old), config_lib.to_json(new), (1,)) == []


def test_the_stage_flag_selects_one_stage_or_all_of_the_config():
  for number in (0, 1, 2):
    assert config_lib.stage_numbers(cuhk.get_config(), str(number)) == (number,)
  assert config_lib.stage_numbers(cuhk.get_config(), "all") == (1, 2)
  assert config_lib.stage_numbers(cuhk.get_config("no_stage1"), "all") == (2,)
  config = toy.get_config()
  config.pretrained = "stage0"
  assert config_lib.stage_numbers(config, "all") == (0, 1, 2)
  with pytest.raises(UserError, match="--stage=3 is no stage; it must be 0, 1, 2 or all"):
    config_lib.stage_numbers(cuhk.get_config(), "3")


def test_seeds_must_be_different_whole_numbers():
  assert config_lib.seeds(["2", "0"]) == [2, 0]
  for given in ([], ["a"], ["-1"], ["1", "01"], ["²"]):
    with pytest.raises(UserError, match=f"^--seeds={','.join(given)} must be different whole numbers"):
      config_lib.seeds(given)


def test_seeds_have_32_bits():
  config = cuhk.get_config()
  config.seed = 2**32 - 1
  config_lib.check(config)
  assert config_lib.seeds(["4294967295"]) == [config.seed]
  with pytest.raises(UserError, match="^--seeds=0,4294967296 must be at most 4294967295$"):
    config_lib.seeds(["0", "4294967296"])
  for seed in (-1, 2**32):
    config.seed = seed
    with pytest.raises(UserError, match=f"^seed is {seed}; it must be a whole number from 0 to 4294967295$"):
      config_lib.check(config)


@pytest.mark.parametrize(
  ("argv", "line"),
  [
    (["--config=cuhk", "--config.sed=1"], "--config.sed: there is no field 'sed' (did you mean 'seed'?); it must be"),
    (["--data=icfg", "--data.sed=1"], "--data.sed: there is no field 'sed' (did you mean 'seed'?); it must be one of"),
    (["--config=cuhk", "--config.seed.x=1"], "--config.seed.x: 'x' is below a field that has no fields"),
    (["--config=COPY", "--config.sed=1"], "--config.sed: there is no field 'sed' (did you mean 'seed'?); it must be"),
    (["--config=nothing", "--config.seed=1"], "--config=nothing: there is no"),
    (["--config.seed=1"], "Unknown command line flag 'x' (--help lists the flags)"),
    (["--other.seed=1"], "Unknown command line flag 'x' (--help lists the flags)"),
  ],
)
def test_an_unknown_flag_is_explained(tmp_path, argv, line):
  folder = tmp_path / "lr=1"
  folder.mkdir()
  (folder / "cuhk.py").write_text((ROOT / "configs/cuhk.py").read_text())
  argv = [arg.replace("COPY", str(folder / "cuhk.py")) for arg in argv]
  assert config_lib.explain_flag_error(flags.UnrecognizedFlagError("x"), argv).startswith(line)


def test_other_flag_errors_are_not_changed():
  assert config_lib.explain_flag_error(flags.IllegalFlagValueError("no number"), ["--seeds=x"]) == "no number"
