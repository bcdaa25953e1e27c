"""Commands on a TPU worker: mounts, environment and data; starting, querying and stopping training."""

import pytest

from tests.launch.checkout import Checkout, wait_for, wait_until_ended


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path, GRACE_SECONDS=1)


def worker(checkout, *arguments, **changes):
  """Runs worker.sh as ssh does and returns its output."""
  home = checkout.folder.parent
  done = checkout.run("worker.sh", *arguments, HOME=str(home), SLURM_PROCID="0", **changes)
  assert done.returncode == 0, done.stderr
  return done.stdout.strip().partition(": ")[2]


def log(checkout):
  return checkout.folder.parent / "tireid_jax_run/log"


def setup(checkout, **changes):
  home = checkout.folder.parent
  usual = {"SHARED": "", "COPY_DATA_FROM": "", "MOUNT_POINT": f"{home}/shared"}
  folders = {"WORKDIR": f"{home}/shared/run", "DATA_DIR": f"{home}/shared/data"}
  worker(checkout, "setup", **{**usual, **folders, **changes})
  return [[call["program"], *call["args"]] for call in checkout.records()]


def test_set_up_without_a_shared_file_system_creates_environment_and_folders(checkout, tmp_path):
  jax = [line for line in (checkout.folder / "requirements.txt").read_text().splitlines() if line.startswith("jax==")]
  assert setup(checkout) == [
    ["uv", "pip", "install", "--quiet", "--python", ".venv/bin/python", "-r", "requirements.txt",
      "-r", "requirements-gcs.txt", *(line.replace("jax", "jax[tpu]") for line in jax)],
  ]  # fmt: skip
  assert (tmp_path / "shared/run").is_dir()
  assert (tmp_path / "shared/data").is_dir()
  assert (checkout.folder / ".set_up").exists()


def test_an_nfs_export_is_mounted(checkout, tmp_path):
  calls = setup(checkout, SHARED="10.0.0.2:/share")
  assert ["sudo", "mount", "-t", "nfs", "-o", "hard", "10.0.0.2:/share", f"{tmp_path}/shared"] in calls
  assert any(call[-1] == "nfs-common" for call in calls)


def test_gcsfuse_is_installed_and_mounts_a_bucket(checkout, tmp_path):
  calls = setup(checkout, SHARED="gs://my-bucket")
  assert ["gcsfuse", "--implicit-dirs", "my-bucket", f"{tmp_path}/shared"] in calls
  assert ["sudo", "tee", "/etc/apt/sources.list.d/gcsfuse.list"] in calls


def test_for_a_workdir_in_a_bucket_nothing_is_mounted_and_no_folder_is_created(checkout, tmp_path):
  calls = setup(checkout, WORKDIR="gs://my-bucket/run", COPY_DATA_FROM="gs://my-bucket/data")
  assert [call[0] for call in calls] == ["uv", "gcloud"]
  assert (tmp_path / "shared/data").is_dir()
  assert not (tmp_path / "shared/run").exists()
  assert not (checkout.folder / "gs:").exists()


@pytest.mark.parametrize(
  ("source", "copy"),
  [
    ("gs://b/data", ["gcloud", "storage", "rsync", "--recursive", "gs://b/data"]),
    ("/nfs/data", ["rsync", "--archive", "/nfs/data/"]),
  ],
)
def test_data_is_copied_to_the_worker(checkout, tmp_path, source, copy):
  last = setup(checkout, COPY_DATA_FROM=source)[-1]
  assert (last[:-1], last[-1].rstrip("/")) == (copy, f"{tmp_path}/shared/data")


def test_training_is_started_only_once_and_its_exit_status_is_kept(checkout):
  checkout.plan(training=["hang"])
  assert worker(checkout, "state") == "gone"
  assert worker(checkout, "start", ".venv/bin/python", "-m", "x") == "training started"
  assert worker(checkout, "start", ".venv/bin/python", "-m", "x") == "training is already running"
  assert worker(checkout, "state") == "running"
  assert "nothing is changed" in worker(checkout, "setup")
  wait_for(log(checkout).read_text)
  assert worker(checkout, "stop", "60") == "training stopped"
  assert worker(checkout, "state") == "exited 143"
  assert checkout.calls("trainer") == [["-m", "x"]]
  worker(checkout, "start", "sh", "-c", "echo what is wrong; exit 2")
  wait_for(lambda: worker(checkout, "state") == "exited 2")
  assert "what is wrong" in checkout.run("worker.sh", "log", HOME=str(checkout.folder.parent)).stdout


def test_training_that_does_not_stop_is_killed(checkout):
  checkout.plan(training=["ignore"])
  worker(checkout, "start", ".venv/bin/python")
  wait_for(log(checkout).read_text)  # it ignores SIGTERM only from here on
  worker(checkout, "stop", "1")
  assert worker(checkout, "state") == "gone"
  wait_until_ended(checkout)


def test_an_environment_is_created_only_for_known_hardware(checkout):
  for hardware in ("cuda12", "cuda13", "cpu"):
    assert checkout.run("environment.sh", hardware).returncode == 0
  extras = [call[-1].partition("==")[0] for call in checkout.calls("uv")]
  assert extras == ["jax[cuda12]", "jax[cuda13]", "jax"]
  done = checkout.run("environment.sh", "gpu")
  assert (done.returncode, done.stderr) == (2, "error: usage: launch/environment.sh tpu|cuda12|cuda13|cpu\n")
