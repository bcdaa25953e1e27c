"""The commands in several processes: results equal those of one process, and none hangs when another exits."""

import json
import os
import signal

import chex
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.commands import SMALL, command, run, succeed
from tests.data.trees import make_tree, read_entries, write_annotations
from tests.models.trees import write_hf_clip
from tests.processes import TIMEOUT_S, Processes, devices, free_port, logged_step, multiprocess_commands, saved_step
from tireid_jax.data.prepared import splits
from tireid_jax.models.variants import VARIANTS
from tireid_jax.parallel import sharding
from tireid_jax.training.dump import read_metadata
from tireid_jax.workdir import checkpoint
from tireid_jax.workdir.metric_log import read_metrics

pytestmark = pytest.mark.slow

LEARNING_RATE = 3.5e-4
# Index of the only caption with a certain token. It is in the second half of the batch of the second step.
UNIQUE = 17


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
  folder = tmp_path_factory.mktemp("multihost")
  root = make_tree(folder / "raw", "rstp_reid", num_ids={"train": 16, "val": 3, "test": 3})
  entries = read_entries(root, "rstp_reid")
  [entry for entry in entries if entry["split"] == "train"][UNIQUE // 2]["captions"][UNIQUE % 2] += " umbrella"
  write_annotations(root, "rstp_reid", entries)
  write_hf_clip(folder / "clip", VARIANTS["tiny"], image_size=48)
  flags = (
    "--config=configs/rstp.py", *SMALL, f"--config.data_dir={folder}/data", f"--config.pretrained={folder}/clip",
    "--config.stage1.epochs=6", "--config.stage1.evaluate_every_epochs=6",
    f"--config.stage1.learning_rate={LEARNING_RATE}",
  )  # fmt: skip
  succeed("data.prepare", *flags, f"--raw={folder}/raw")
  return (*flags, "--stage=1")


@pytest.fixture(scope="module")
def single(flags, tmp_path_factory):
  """Returns the workdir of an uninterrupted run of one process with one device."""
  folder = tmp_path_factory.mktemp("single")
  done = run("main", *flags, f"--workdir={folder}", XLA_FLAGS=devices(1))
  assert done.returncode == 0, done.stderr[-3000:]
  return folder


def mesh(data, fsdp, model):
  return (f"--config.mesh.data={data}", f"--config.mesh.fsdp={fsdp}", f"--config.mesh.model={model}")


def assert_equal_runs(workdir, single):
  """Compares the losses of every step (relative to 1e-5), the weights (to 0.2 learning rates) and the results."""
  losses, expected = (
    {record["step"]: record["loss/total"] for record in read_metrics(folder / "stage1") if "loss/total" in record}
    for folder in (workdir, single)
  )
  assert list(losses) == list(expected)
  np.testing.assert_allclose(list(losses.values()), list(expected.values()), rtol=1e-5)
  weights, expected = (
    checkpoint.restore_variables(folder / "stage1", logged_step(folder / "stage1"), sharding.make_mesh(-1, 1, 1))[0]
    for folder in (workdir, single)
  )
  chex.assert_trees_all_equal(weights["params"], expected["params"])
  chex.assert_trees_all_close(weights["prompts"], expected["prompts"], atol=0.2 * LEARNING_RATE, rtol=0)
  result, expected = (json.loads((folder / "stage1/result.json").read_text()) for folder in (workdir, single))
  result.pop("seconds"), expected.pop("seconds")
  assert result == expected


def test_two_processes_train_like_one_and_only_the_first_logs(flags, single, tmp_path):
  with Processes(
    multiprocess_commands(command("main", *flags, *mesh(2, 2, 2), f"--workdir={tmp_path}")), num_devices=4
  ) as both:
    both.succeed()
    assert "8 cpu device(s) (data 2, fsdp 2, model 2)" in both.errors(0)
    assert (both.output(0), both.output(1)) == ("", "")
    # Each process wrote its shards of the checkpoint.
    parts = tmp_path.glob("stage1/checkpoints/*/variables/ocdbt.process_*")
    assert {part.name for part in parts} == {"ocdbt.process_0", "ocdbt.process_1"}
    assert not any(word in both.errors(1) for word in ("stage 1", "step", "encoding"))
  assert_equal_runs(tmp_path, single)


def test_a_run_that_is_resumed_with_other_processes_and_meshes_ends_like_an_uninterrupted_one(flags, single, tmp_path):
  """One process with one device; two with two devices each, one killed; one with eight; two with one; one with one."""
  stage_folder = tmp_path / "stage1"
  main = command("main", *flags, f"--workdir={tmp_path}")

  with Processes([main]) as one:
    one.wait_until(lambda: logged_step(stage_folder) > 0)
    one.processes[0].send_signal(signal.SIGTERM)
    assert one.wait() == [128 + signal.SIGTERM]
  first = saved_step(stage_folder)

  with Processes(multiprocess_commands([*main, *mesh(1, 4, 1)]), num_devices=2) as both:
    both.wait_until(lambda: saved_step(stage_folder) > first)
    both.processes[1].kill()
    assert both.processes[0].wait(TIMEOUT_S) != 0
    assert f"resumed at step {first}" in both.errors(0)
  second, logged = saved_step(stage_folder), logged_step(stage_folder)

  with Processes([[*main, *mesh(2, 2, 2)]], num_devices=8) as one:
    one.wait_until(lambda: logged_step(stage_folder) > logged)
    one.processes[0].send_signal(signal.SIGTERM)
    assert one.wait() == [128 + signal.SIGTERM]
    assert f"resumed at step {second}" in one.errors(0)
  third = saved_step(stage_folder)

  with Processes(multiprocess_commands(main)) as both:
    both.wait_until(lambda: logged_step(stage_folder) > third)
    both.processes[1].send_signal(signal.SIGTERM)
    assert both.wait() == [128 + signal.SIGTERM] * 2
    assert f"resumed at step {third}" in both.errors(0)
    fourth = saved_step(stage_folder)
    assert f"stopped and saved at step {fourth};" in both.errors(0)

  with Processes([main]) as one:
    one.succeed()
    assert f"resumed at step {fourth}" in one.errors(0)
  assert first < second < third < fourth < logged_step(stage_folder)
  assert_equal_runs(tmp_path, single)


def test_if_the_first_process_is_killed_the_other_exits(flags, tmp_path):
  with Processes(multiprocess_commands(command("main", *flags, f"--workdir={tmp_path}"))) as both:
    both.wait_until(lambda: logged_step(tmp_path / "stage1") > 0)
    both.processes[0].kill()
    assert both.processes[1].wait(TIMEOUT_S) != 0


def test_a_caption_that_causes_nan_in_one_process_stops_both_with_the_same_message_and_one_dump(flags, tmp_path):
  (data_dir,) = [flag.partition("=")[2] for flag in flags if flag.startswith("--config.data_dir=")]
  split = splits.open_split(data_dir, "rstp_reid", (48, 24), "train")
  tokens, counts = np.unique(split.tokens, return_counts=True)
  (token,) = tokens[counts == 1]
  tensors = write_hf_clip(tmp_path / "clip", VARIANTS["tiny"], image_size=48)
  tensors["text_model.embeddings.token_embedding.weight"][token] = 3e38  # its square is not finite
  save_file(tensors, tmp_path / "clip" / "model.safetensors")
  arguments = (*flags, f"--config.pretrained={tmp_path}/clip", f"--workdir={tmp_path}/run")
  with Processes(multiprocess_commands(command("main", *arguments))) as both:
    assert both.wait() == [2, 2]
    messages = [
      [line for line in both.errors(process).splitlines() if line.startswith("error: ")] for process in range(2)
    ]
  assert messages[0] == messages[1]
  (message,) = messages[0]
  (dump,) = (tmp_path / "run" / "stage1" / "diverged").iterdir()
  assert dump.name == "1"
  assert "error: loss/total is nan at step 2 (loss/total nan, " in message
  assert f"python -m tireid_jax.replay {dump} " in message
  examples = read_metadata(dump)["examples"]
  assert [example["caption"] for example in examples].index(UNIQUE) >= len(examples) // 2
  lines = succeed("replay", str(dump)).splitlines()
  assert lines[-2].endswith(f"text_encoder/transformer/blocks[0]/ln_1, for 1 of 8 captions: {UNIQUE}")
  assert lines[-1] == "reproduced: the replay has non-finite values too"


def test_evaluation_of_two_processes_counts_each_query_once(single, tmp_path):
  """The processes find each other by the environment variables of SLURM."""
  arguments = ("evaluate", f"--workdir={single}", "--stage=1", "--split=train")
  step = {
    "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2",
    "JAX_COORDINATOR_PORT": str(free_port()),
  }  # fmt: skip
  tasks = [{**step, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)} for task in range(2)]
  many = [command(*arguments, "--multihost", f"--dump={tmp_path}/{task}.npz") for task in range(2)]
  with Processes(many, num_devices=2, variables=tasks) as both:
    both.succeed()
    assert both.output(0) == succeed(*arguments, f"--dump={tmp_path}/one.npz")
    assert both.output(1) == ""
    assert "encoding" not in both.errors(1)
  assert sorted(os.listdir(tmp_path)) == ["0.npz", "one.npz"]
  dump, expected = (np.load(tmp_path / name) for name in ("0.npz", "one.npz"))
  assert sorted(dump) == sorted(expected)
  for name in dump:
    if dump[name].dtype == np.float32:
      np.testing.assert_allclose(dump[name], expected[name], atol=1e-5)
    else:
      np.testing.assert_array_equal(dump[name], expected[name])


def test_different_flags_of_two_processes_end_both_before_anything_is_written(flags, tmp_path):
  both = multiprocess_commands(command("main", *flags, f"--workdir={tmp_path}/run"))
  both[1].append("--config.stage1.batch_size=7")
  with Processes(both) as two:
    assert two.wait() == [2, 2]
    for process in range(2):
      (line,) = [line for line in two.errors(process).splitlines() if line.startswith("error: ")]
      assert line == "error: the processes were started with different flags or config files"
  assert not (tmp_path / "run").exists()
