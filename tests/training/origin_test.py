"""The origin of a run's weights is recorded once, passed on to later stages, and compared with a new name."""

import hashlib
import json
import shutil

import jax.numpy as jnp
import pytest

from configs import rstp
from tests.data.trees import make_tree
from tests.models.trees import write_hf_clip
from tireid_jax.data.prepare import prepare
from tireid_jax.models.variants import VARIANTS
from tireid_jax.training import loop, origin, preflight, program
from tireid_jax.workdir import layout


def configured(folder, pretrained="clip"):
  config = rstp.get_config()
  config.data_dir, config.data.image_size, config.model.variant = str(folder / "data"), (48, 16), "tiny"
  config.pretrained = str(folder / pretrained)
  config.prompts.update(depth=1, image_length=1, text_length=1)
  config.stage1.update(epochs=1, batch_size=8)
  config.stage2.batch_size = 8
  return config


@pytest.fixture(scope="module")
def project(tmp_path_factory):
  """Returns a folder of prepared data, weights and a finished run of stage 1."""
  folder = tmp_path_factory.mktemp("origin")
  make_tree(folder / "raw", "rstp_reid", num_ids={"train": 4, "val": 2, "test": 2})
  prepare("rstp_reid", folder / "raw", folder / "data", (48, 16), show_progress=False)
  write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  write_hf_clip(folder / "other", VARIANTS["tiny"], image_size=48, seed=1)
  loop.run(configured(folder), (1,), folder / "run")
  return folder


@pytest.fixture
def unfinished(project, tmp_path):
  """Returns a copy of the project whose run lacks the result of stage 1."""
  shutil.copytree(project, tmp_path, dirs_exist_ok=True)
  (tmp_path / "run" / "stage1" / "result.json").unlink()
  return tmp_path


def test_a_result_records_the_initial_weights_of_its_stage(project):
  digest = hashlib.sha256((project / "clip" / "model.safetensors").read_bytes()).hexdigest()
  assert layout.read_result(project / "run", 1)["origin"] == {
    "kind": "pretrained", "name": str(project / "clip"), "file": "model.safetensors", "prefix": "", "revision": "",
    "digest": digest,
  }  # fmt: skip


def test_a_run_is_resumed_without_reading_its_initial_weights_again(unfinished, project):
  config = configured(unfinished, "nowhere")
  config.pretrained = str(project / "clip")  # the recorded name, which does not exist below
  (project / "clip").rename(project / "away")
  try:
    preflight.check(config, (1, 2), unfinished / "run")
    loop.run(config, (1,), unfinished / "run")
    config.pretrained = ""
    preflight.check(config, (1, 2), unfinished / "run")
  finally:
    (project / "away").rename(project / "clip")


def read_recorded_names(run):
  files = [run / "config.json", run / "stage1" / "config.json"]
  return {json.loads(file.read_text())["pretrained"] for file in files} | {
    layout.read_result(run, 1)["origin"]["name"], origin.recorded(run)["config"]["pretrained"],
  }  # fmt: skip


def test_the_same_weights_in_a_moved_folder_are_accepted_and_the_recorded_name_is_kept(unfinished, project, capsys):
  loop.run(configured(unfinished), (1,), unfinished / "run")
  assert f"{unfinished}/clip holds the same weights as {project}/clip" in capsys.readouterr().err
  assert read_recorded_names(unfinished / "run") == {str(project / "clip")}
  assert layout.read_result(unfinished / "run", 1)["origin"] == layout.read_result(project / "run", 1)["origin"]


@pytest.mark.parametrize("numbers", [(1,), (2,)])
def test_other_weights_raise(unfinished, numbers):
  with pytest.raises(ValueError, match=r"was started from .*clip \(digest \w{12}\), but .*other \(digest \w{12}\)"):
    loop.run(configured(unfinished, "other"), numbers, unfinished / "run")


def test_unreadable_weights_raise(unfinished, project):
  with pytest.raises(ValueError, match=f"was started from {project}/clip, and cannot be compared .*nowhere"):
    loop.run(configured(unfinished, "nowhere"), (1,), unfinished / "run")


def test_another_prefix_raises(unfinished):
  config = configured(unfinished)
  config.pretrained_prefix = "ema."
  with pytest.raises(ValueError, match="pretrained_prefix: '' in the workdir, 'ema.' requested"):
    loop.run(config, (1,), unfinished / "run")


def test_a_name_that_now_refers_to_other_weights_raises_when_it_is_read(unfinished, project):
  config = configured(project)
  config.stage2.init_from = "pretrained"
  write_hf_clip(project / "clip", VARIANTS["tiny"], image_size=48, seed=1)
  try:
    with pytest.raises(ValueError, match="holds other weights"):
      loop.run(config, (2,), unfinished / "run")
  finally:
    write_hf_clip(project / "clip", VARIANTS["tiny"], image_size=48)


@pytest.mark.parametrize("run", ["/w", "gs://bucket/w"])
@pytest.mark.parametrize("other", ["/other/stage1", "gs://other/run/stage1"])
def test_the_folder_of_an_origin_is_found_in_the_workdir_and_elsewhere(run, other):
  recorded = origin.within(run, {"kind": "checkpoint", "folder": f"{run}/stage1"})
  assert recorded["folder"] == "stage1"
  assert str(origin.folder_of(run, recorded)) == f"{run}/stage1"
  assert str(origin.folder_of(run, origin.within(run, {"kind": "checkpoint", "folder": other}))) == other


def test_a_run_of_a_version_without_digests_goes_on(unfinished, capsys):
  (step,) = (unfinished / "run" / "stage1" / "checkpoints").iterdir()
  (file,) = [file for file in (step / "metadata").iterdir() if "fingerprint" in file.read_text()]
  metadata = json.loads(file.read_text())
  del metadata["origin"], metadata["frozen"]
  file.write_text(json.dumps(metadata))
  shutil.rmtree(unfinished / "run" / "stage1" / "digests")
  result = loop.run(configured(unfinished, "other"), (1,), unfinished / "run")[1]
  messages = capsys.readouterr().err
  assert f"--config.pretrained={unfinished}/other is neither read nor recorded" in messages
  assert "recorded neither the digest of its initial weights nor checksums of the frozen variables" in messages
  assert result["origin"] is None
  assert result["frozen"]["start"] == result["frozen"]["end"] != {}


def test_a_stage_that_changed_frozen_variables_fails(project, tmp_path, monkeypatch):
  make = program.make_train_step

  def faulty(*arguments):
    step = make(*arguments)

    def train_step(state, batch):
      state, metrics = step(state, batch)
      head = state.variables["params"]["text_encoder"]["ln_final"]
      head["bias"] = jnp.nextafter(head["bias"], 1.0)
      return state, metrics

    return train_step

  monkeypatch.setattr(program, "make_train_step", faulty)
  with pytest.raises(ValueError, match="stage 1 in .* does not train params/text_encoder, but at step"):
    loop.run(configured(project), (1,), tmp_path / "run")
  assert not (tmp_path / "run" / "stage1" / "result.json").exists()


def test_the_digest_of_several_files_is_that_of_the_output_of_sha256sum(tmp_path):
  names = ["model-2.safetensors", "model-1.safetensors"]
  for name in names:
    (tmp_path / name).write_bytes(name.encode())
  lines = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in sorted(names))
  paths = [tmp_path / name for name in names]
  assert origin.digest_of_files(paths) == hashlib.sha256(lines.encode()).hexdigest()
