"""SkyPilot: the launch command, and what the task runs on TPU hosts and GPU nodes."""

import subprocess

import pytest
import yaml

from tests.launch.checkout import OVERRIDES, TIMEOUT_S, Checkout

TPU, GPU = "tpu-v5litepod-16", "H100:8"


def launch(tmp_path, **settings):
  """Runs sky.sh and returns (the checkout, flags of `sky`, environment variables of the task)."""
  checkout = Checkout(tmp_path, FLAGS=OVERRIDES, **{"SHARED": "gs://bucket", **settings})
  assert checkout.run("sky.sh").returncode == 0
  (arguments,) = checkout.calls("sky")
  given = [arguments[index + 1] for index, argument in enumerate(arguments) if argument == "--env"]
  flags = [argument for argument in arguments if argument not in ("--env", *given)]
  return checkout, flags, dict(pair.split("=", 1) for pair in given)


def test_a_managed_job_is_launched(tmp_path):
  _, flags, given = launch(tmp_path, SKY_ACCELERATORS=GPU, SKY_NODES=4, SKY_FLAGS=["--infra=gcp"])
  assert flags == [
    "jobs", "launch", "--yes", "--detach-run", "--name=tireid", "--gpus=H100:8", "--num-nodes=4", "--use-spot",
    "--infra=gcp", "launch/sky.yaml",
  ]  # fmt: skip
  task = yaml.safe_load((tmp_path / "checkout/launch/sky.yaml").read_text())
  assert sorted(given) == sorted(task["envs"])
  assert task["file_mounts"] == {"${MOUNT_POINT}": {"source": "${SHARED}", "mode": "MOUNT"}}
  assert (given["SHARED"], given["MOUNT_POINT"]) == ("gs://bucket", f"{tmp_path}/shared")


@pytest.mark.parametrize(
  ("accelerators", "hardware", "process_flags"),
  [
    (TPU, "tpu", []),
    (GPU, "cuda12", ["--coordinator=10.0.0.7:8476", "--num_processes=2", "--process_id=1"]),
  ],
)
def test_the_task_trains_with_unchanged_overrides(tmp_path, accelerators, hardware, process_flags):
  checkout, _, given = launch(tmp_path, SKY_ACCELERATORS=accelerators)
  task = yaml.safe_load((checkout.folder / "launch/sky.yaml").read_text())
  of_node = {"SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
  environment = checkout.environment(**given, **of_node, SLURM_PROCID="0")
  for script in (task["setup"], task["run"]):
    subprocess.run(["bash", "-c", script], cwd=checkout.folder, env=environment, check=True, timeout=TIMEOUT_S)
  assert given["HARDWARE"] == hardware
  assert checkout.calls("uv")[-1][-1].startswith(f"jax[{hardware}]==")
  (arguments,) = checkout.calls("trainer")
  assert arguments[-len([*OVERRIDES, "--multihost", *process_flags]) :] == [*OVERRIDES, "--multihost", *process_flags]


def test_with_a_workdir_in_a_bucket_nothing_is_mounted_and_the_data_is_copied(tmp_path):
  settings = {"SHARED": "", "WORKDIR": "gs://bucket/run", "COPY_DATA_FROM": "gs://bucket/data"}
  checkout, flags, given = launch(tmp_path, **settings)
  assert flags[-1] == "launch/sky_bucket.yaml"
  task, mounting = (
    yaml.safe_load((checkout.folder / f"launch/{name}.yaml").read_text()) for name in ("sky_bucket", "sky")
  )
  assert sorted(given) == sorted(task["envs"])
  assert "file_mounts" not in task
  for key in ("name", "workdir", "resources", "run"):
    assert task[key] == mounting[key]
  environment = checkout.environment(**given, SLURM_PROCID="0", HOME=str(tmp_path))
  for script in (task["setup"], task["run"]):
    subprocess.run(["bash", "-c", script], cwd=checkout.folder, env=environment, check=True, timeout=TIMEOUT_S)
  assert checkout.calls("gcloud") == [
    ["storage", "rsync", "--recursive", "gs://bucket/data", f"{tmp_path}/shared/data"]
  ]
  (arguments,) = checkout.calls("trainer")
  assert "--workdir=gs://bucket/run" in arguments


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"WORKDIR": "gs://bucket/run"}, "COPY_DATA_FROM is empty; set it to gs://BUCKET/FOLDER of data, or SHARED to"),
    ({}, "SHARED is empty; SkyPilot mounts buckets: set it to gs://BUCKET"),
  ],
)
def test_without_a_bucket_to_mount_or_to_copy_data_from_nothing_is_launched(tmp_path, settings, message):
  checkout = Checkout(tmp_path, **settings)
  done = checkout.run("sky.sh")
  assert (done.returncode, checkout.calls()) == (2, [])
  assert done.stderr.startswith(f"error: {message}")


def test_a_file_system_that_skypilot_cannot_mount_is_rejected(tmp_path):
  done = Checkout(tmp_path, SHARED="10.0.0.2:/share").run("sky.sh")
  assert (done.returncode, done.stderr) == (
    2, "error: SHARED is 10.0.0.2:/share; SkyPilot mounts buckets: set it to gs://BUCKET\n",
  )  # fmt: skip
