"""A user's mistake gives a one-line error and exit status 2, and nothing is written."""

import dataclasses
import json
import os

import pytest

from tests.commands import SMALL, succeed
from tests.data.trees import make_tree
from tests.forked import run
from tests.models.trees import write_hf_clip
from tireid_jax.models.variants import VARIANTS
from tireid_jax.storage import lock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """Prepares a data set, weights and a workdir with a finished stage 1; returns (folder, flags)."""
  folder = tmp_path_factory.mktemp("project")
  make_tree(folder / "raw", "rstp_reid")
  write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  flags = [
    "--config=configs/rstp.py", *SMALL, f"--config.data_dir={folder}/data", f"--config.pretrained={folder}/clip",
  ]  # fmt: skip
  succeed("data.prepare", *flags, f"--raw={folder}/raw")
  succeed("main", *flags, "--config.stage1.epochs=1", "--stage=1", f"--workdir={folder}/done")
  return folder, flags


def assert_error(done, *expected):
  """Checks the exit status and the error line, before which a progress bar may have been shown."""
  assert done.returncode == 2, done.stderr[-2000:]
  assert "Traceback" not in done.stderr
  (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  for text in expected:
    assert text in error


FLAGS = [
  (["--stage=3"], ["--stage=3 is no stage; it must be 0, 1, 2 or all"]),
  (["--config=configs/rstp.py:no_stge1"], ["there is no ablation 'no_stge1' (did you mean 'no_stage1'?)"]),
  (
    ["--config=configs/rst.py"],
    [
      "--config=configs/rst.py: there is no file 'configs/rst.py', nor has",
      "such a config (cuhk, custom, icfg, rstp, toy, toy_clip) (did you mean 'configs/rstp.py'?)",
    ],
  ),
  (["--config.stage2.learning_rte=3e-6"], ["no field 'learning_rte' (did you mean 'learning_rate'?)"]),
  (["--config.stage2.learning_rate=fast"], ["--config.stage2.learning_rate=fast"]),
  (["--stge=1"], ["stge"]),
  (["--config.prompts.text_length=-1"], ["prompts.text_length is -1; it must be 0 (no prompts) or more"]),
  (["--config.prompts.depth=9"], ["prompts.depth is 9", "set --config.prompts.depth to 1..3"]),
  (["--config.model.variant=ViT-B/61"], ["it must be from_weights or one of tiny, small, ViT-B/32"]),
  (["--config.model.position_resize=cubic"], ["model.position_resize is 'cubic' (did you mean 'bicubic'?)"]),
  (["--config.model.stride=17"], ["model.stride is 17; it must be 0 (patches side by side) or from 1 to the patch"]),
  (["--config.data.tokenizer=words"], ["is prepared with the tokenizer of CLIP", "asks for words", "data.prepare"]),
  (["--config.stage1.losses.itc=0."], ["stage1.losses are all 0"]),
  (["--config.pretrained="], ["pretrained is empty; set --config.pretrained"]),
  (["--config.pretrained=/nowhere"], ["/nowhere", "is no file or folder"]),
  (["--config.pretrained=configs"], ["configs holds no weights"]),
  (["--config.pretrained=ViT-B/16"], ["names a variant, not weights", "--config.model.variant=ViT-B/16"]),
  (["--config.model.num_heads=(12,)"], ["model.num_heads is (12,); it must be two whole numbers"]),
  (["--config.data_dir=/nowhere"], ["rstp_reid at 48x24 is not prepared in /nowhere", "tireid_jax.data.prepare"]),
  (["--config.data.image_size=(96,48)"], ["rstp_reid at 96x48 is not prepared"]),
  (["--stage=2"], ["stage 2 starts from stage 1", "run --stage=1 first or set --config.stage2.init_from=pretrained"]),
  (["--config.stage1.batch_size=4000"], ["4000"]),
  (["--config.stage1.microbatch_size=3"], ["stage1.microbatch_size is 3, which does not divide stage1.batch_size=8"]),
  (["--config.model.blocks=looped"], ["model.blocks is 'looped' (did you mean 'loop'?)"]),
  (["--config.model.attention=flash"], ["model.attention is 'flash'; it must be one of auto, xla, cudnn"]),
  (["--config.model.attention=cudnn"], ["model.attention is cudnn, which runs on NVIDIA GPUs alone, and this is cpu"]),
  (
    ["--config.stage1.sampler.kind=image"],
    ["stage1.sampler.kind is 'image' (did you mean 'images'?); it must be one of captions, identities, images"],
  ),
  (["--config.select_on=tst"], ["select_on is 'tst' (did you mean 'test'?)"]),
  (["--profile=3"], ["--profile=3 must be START:STEPS, two whole numbers from 1, as 100:5"]),
  (["--profile=99:1"], ["--profile=99:1 starts after the end of stage 1, which has"]),
  (["--config.mesh.data=3"], ["mesh is data=3, fsdp=1, model=1, which does not divide the 1 devices"]),
]


@pytest.mark.parametrize(("flags", "expected"), FLAGS, ids=[" ".join(flags) for flags, _ in FLAGS])
def test_a_wrong_flag_is_reported_in_one_line(project, tmp_path, flags, expected):
  _, common_flags = project
  changed = {flag.split("=")[0] for flag in flags}
  common_flags = [flag for flag in [*common_flags, "--stage=1"] if flag.split("=")[0] not in changed]
  assert_error(run("main", *common_flags, *flags, f"--workdir={tmp_path}/w"), *expected)
  assert not (tmp_path / "w").exists()


def test_an_absent_gpu_is_reported_in_one_line():
  assert_error(
    run("evaluate", "--config=rstp", "--stage=pretrained", JAX_PLATFORMS="cuda"), "JAX_PLATFORMS=cuda requests dev"
  )


@pytest.mark.parametrize(("field", "value"), [("batch_size", 6), ("microbatch_size", 2)])
def test_a_batch_size_that_the_devices_do_not_divide_is_an_error(project, tmp_path, field, value):
  _, flags = project
  done = run(
    "main", *flags, f"--config.stage1.{field}={value}", "--stage=1", f"--workdir={tmp_path}/w",
    XLA_FLAGS="--xla_force_host_platform_device_count=4",
  )  # fmt: skip
  assert_error(done, f"stage1.{field} is {value}, which the 4 devices along data and fsdp do not divide")
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
  ("flags", "difference"),
  [
    (["--config.prompts.text_length=2"], "prompts.text_length: 4 in the workdir, 2 requested"),
    (["--config.data.name=cuhk_pedes"], "data.name: 'rstp_reid' in the workdir, 'cuhk_pedes' requested"),
    (["--config.stage1.learning_rate=1.0"], "stage1.learning_rate: 0.00035 in the workdir, 1.0 requested"),
  ],
)
def test_the_error_for_a_workdir_of_another_run_shows_the_difference(project, flags, difference):
  folder, common_flags = project
  before = sorted((path, path.stat().st_mtime_ns) for path in (folder / "done").rglob("*"))
  epochs = "--config.stage1.epochs=1"
  assert_error(run("main", *common_flags, epochs, *flags, "--stage=1", f"--workdir={folder}/done"), difference)
  assert_error(run("main", *common_flags, epochs, *flags, "--stage=2", f"--workdir={folder}/done"), difference)
  assert sorted((path, path.stat().st_mtime_ns) for path in (folder / "done").rglob("*")) == before


def test_a_workdir_in_use_is_not_changed_and_the_error_names_the_process(project):
  folder, common_flags = project
  (folder / "done/stage1/checkpoints/9.orbax-checkpoint-tmp").mkdir()  # as during a save
  with lock.holding(folder / "done", "", ""):
    before = sorted((path, path.stat().st_mtime_ns) for path in (folder / "done").rglob("*"))
    done = run("main", *common_flags, "--config.stage1.epochs=1", "--stage=2", f"--workdir={folder}/done")
    assert sorted((path, path.stat().st_mtime_ns) for path in (folder / "done").rglob("*")) == before
  assert_error(
    done, f"--workdir={folder}/done is in use by process {os.getpid()} on ", "; wait for it to end, stop it, or"
  )


def test_evaluate_reports_a_missing_workdir_checkpoint_stage_split_or_folder(project, tmp_path):
  folder, _ = project
  assert_error(run("evaluate", f"--workdir={tmp_path}"), "is no workdir of a run")
  assert_error(run("evaluate", f"--workdir={folder}/done", "--stage=2"), "holds no checkpoint; run --stage=2")
  assert_error(run("evaluate", f"--workdir={folder}/done", "--stage=one"), "--stage=one is no stage")
  assert_error(run("evaluate", f"--workdir={folder}/done", "--stage=1", "--split=tset"), "tset")
  assert_error(
    run("evaluate", f"--workdir={folder}/done", "--stage=1", "--dump=/nowhere/d.npz"), "there is no folder /nowhere"
  )


@pytest.mark.parametrize("fault", ["no captions", "not an image", "missing image", "no annotations", "unknown split"])
def test_prepare_reports_broken_raw_data_and_leaves_no_files(tmp_path, fault):
  raw = make_tree(tmp_path / "raw", "rstp_reid")
  annotations = raw / "data_captions.json"
  entries = json.loads(annotations.read_text())
  image = raw / "imgs" / entries[3]["img_path"]
  if fault == "no captions":
    entries[3]["captions"] = []
  elif fault == "unknown split":
    entries[3]["split"] = "trian"
  elif fault == "not an image":
    image.write_bytes(b"this is no picture")
  elif fault == "missing image":
    image.unlink()
  annotations.write_text(json.dumps(entries))
  if fault == "no annotations":
    annotations.unlink()
  done = run(
    "data.prepare", "--config=configs/rstp.py", "--config.data.image_size=(48,24)",
    f"--config.data_dir={tmp_path}/data", f"--raw={tmp_path}/raw",
  )  # fmt: skip
  named = {"unknown split": "trian", "no annotations": "data_captions.json"}.get(fault, entries[3]["img_path"])
  assert_error(done, named)
  assert not list((tmp_path / "data").rglob("dataset.json"))


LATE = [
  ["--config.stage2.trains=('parms',)"],
  ["--config.stage2.augment.flip=2.0"],
  ["--config.stage2.init_from=configs"],  # exists, but has no weights
  ["--config.stage2.augment_text.mask_probability=0.1", "--config.stage2.augment_text.mask_token=0"],
  ["--config.stage2.sampler.kind=images", "--config.stage2.sampler.captions_per_image=3"],
  ["--config.stage2.batch_size=0"],
  ["--config.model.remat=some"],
  ["--config.select_on=val", "--config.data.val_identities=2"],
  ["--config.stage1.epochs=90", "--profile=80:1"],
]


@pytest.mark.parametrize("flags", LATE, ids=" ".join)
def test_a_mistake_in_stage_2_is_reported_before_stage_1_starts(project, tmp_path, flags):
  assert_error(run("main", *project[1], *flags, "--stage=all", f"--workdir={tmp_path}/w"))
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("name", ["lr=1e-3,bs[64]", "run*", "why?"])
def test_a_workdir_whose_name_is_a_glob_pattern_is_an_error(project, tmp_path, name):
  done = run("main", *project[1], "--stage=1", f"--workdir={tmp_path}/{name}")
  assert_error(done, "the characters * ? [ are glob patterns to Orbax")
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("flag", "difference"),
  [
    ("--config.model.activation=gelu", "activation is quick_gelu in the checkpoint, gelu in the config"),
    ("--config.model.num_heads=(2,0)", "image.num_heads is 4 in the checkpoint, 2 in the config"),
  ],
)
def test_a_stage_1_of_another_model_with_equal_shapes_is_an_error(project, tmp_path, flag, difference):
  folder, flags = project
  init = (f"--config.stage2.init_from={folder}/done", "--stage=2", f"--workdir={tmp_path}/w")
  assert_error(
    run("main", *flags, flag, *init), f"the checkpoint in {folder}/done/stage1 is of another model: {difference}"
  )
  assert not (tmp_path / "w").exists()


def test_unsuitable_weights_are_an_error_and_no_workdir_is_created(project, tmp_path):
  folder, common_flags = project
  damaged = tmp_path / "clip"
  write_hf_clip(damaged, VARIANTS["tiny"], image_size=48)
  (damaged / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
  flags = [flag for flag in common_flags if "pretrained" not in flag]
  done = run("main", *flags, f"--config.pretrained={damaged}", "--stage=1", f"--workdir={tmp_path}/w")
  assert_error(done, "holds no weights", "git-lfs")
  write_hf_clip(damaged, dataclasses.replace(VARIANTS["tiny"], embedding_size=32), image_size=48)
  assert_error(
    run("main", *flags, f"--config.pretrained={damaged}", "--stage=1", f"--workdir={tmp_path}/w"), "model.variant"
  )
  assert not (tmp_path / "w").exists()
  assert_error(
    run("main", *common_flags, "--stage=1", f"--workdir={folder}/raw/RSTPReid/data_captions.json"), "data_captions.json"
  )


def test_stage_2_does_not_need_the_flag_for_pretrained_weights(project):
  folder, common_flags = project
  flags = [flag for flag in common_flags if "pretrained" not in flag]
  succeed("main", *flags, "--config.stage1.epochs=1", "--stage=2", f"--workdir={folder}/done")
  assert "text to image" in succeed("evaluate", f"--workdir={folder}/done", "--stage=pretrained")
