"""TPU pods: the gcloud calls of successful and of failing runs."""

import os
import signal

from tests.commands import ROOT
from tests.launch import transcript
from tests.launch.checkout import AFTER, OVERRIDES, TIMEOUT_S, Checkout, failing, wait_for, wait_until_ended


def verbs(checkout):
  """Returns the verb of each gcloud call."""
  return [call[3] for call in checkout.calls("gcloud")]


def starts(checkout):
  """Returns how often training was started on each of the two workers."""
  return len(checkout.calls("trainer")) / 2


def test_the_transcript_in_docs_is_up_to_date(tmp_path):
  assert transcript.write(tmp_path) == (ROOT / transcript.PAGE).read_text(), f"to update it: {transcript.COMMAND}"


def test_several_slices_on_demand_over_nfs(tmp_path):
  checkout = Checkout(tmp_path, NUM_SLICES=4, SPOT=0, SHARED="10.0.0.2:/share", CREATE_FLAGS=["--reserved"])
  assert checkout.run("tpu.sh", "create").returncode == 0
  assert checkout.calls()[0][6:] == [
    "tireid", "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--node-count=4",
    "--node-prefix=tireid", "--metadata=enable-oslogin=TRUE", "--reserved",
  ]  # fmt: skip


def test_overrides_reach_the_trainer_on_every_worker_unchanged(tmp_path):
  checkout = Checkout(tmp_path, FLAGS=OVERRIDES)
  assert checkout.run("tpu.sh", "run", "--config.names=('a','b')").returncode == 0
  for call in checkout.calls("trainer"):
    assert call[-4:] == [*OVERRIDES, "--config.names=('a','b')", "--multihost"]
  assert starts(checkout) == 1


def test_a_workdir_in_a_bucket_reaches_the_trainer_and_nothing_is_mounted(tmp_path):
  checkout = Checkout(tmp_path, WORKDIR="gs://bucket/runs/1")
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert starts(checkout) == 1
  for call in checkout.calls("trainer"):
    assert "--workdir=gs://bucket/runs/1" in call
  assert checkout.calls("mountpoint", "gcsfuse", "sudo") == []


def test_run_requests_and_sets_up_slices_if_needed(tmp_path):
  checkout = Checkout(tmp_path)
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert verbs(checkout)[:5] == ["describe", "create", "describe", "scp", "ssh"]
  checkout.clear_records()
  (checkout.standins / "worker-1/tireid_jax/.set_up").unlink()
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert verbs(checkout)[:5] == ["describe", "ssh", "scp", "ssh", "ssh"]


def test_training_is_not_restarted_after_a_user_error(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(training=[[2, "hang"]])  # the other process still waits for the one that failed
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (2, 1)
  assert "tireid_jax_run/log ends with" in done.stderr
  wait_until_ended(checkout)


def test_training_is_not_restarted_after_ctrl_c(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(training=[[130, 130]])
  assert (checkout.run("tpu.sh", "run").returncode, starts(checkout)) == (130, 1)


def test_after_a_crash_training_restarts_on_the_same_slices_until_its_tries_are_used_up(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=3)
  checkout.plan(training=[[failing("ValueError: it is worn out", log=AFTER), "hang"]])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (1, 3)
  assert done.stderr.endswith("error: training is not complete after 3 starts\n")
  assert verbs(checkout).count("create") == 1
  wait_until_ended(checkout)


def test_training_is_not_restarted_after_two_equal_failures_before_the_first_step(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=5)
  messages = [f"jax.errors.JaxRuntimeError: 10.0.0.2:{port} refused, see /tmp/t{port}/log" for port in (40118, 40230)]
  checkout.plan(training=[[failing(text, status=134), "hang"] for text in messages])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (134, 2)
  assert done.stderr.endswith(
    "error: starts 1 and 2 failed before the first step with the same error: "
    "134: jax.errors.JaxRuntimeError: N.N.N.N:N refused, see /tmp/N\n"
  )
  assert messages[1] in done.stderr
  wait_until_ended(checkout)


def test_training_is_restarted_after_failures_that_differ_or_follow_a_step(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=6)
  one, late = failing("ValueError: one"), failing("ValueError: late", log=AFTER)
  differing = [one, failing("ValueError: other"), one, failing("ValueError: one", status=3), late, late]
  checkout.plan(training=[[action, "hang"] for action in differing])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (1, 6)
  assert done.stderr.endswith("error: training is not complete after 6 starts\n")
  wait_until_ended(checkout)


def test_the_error_of_the_first_worker_to_fail_is_compared(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=5, POLL_SECONDS=3)
  cause, other, peer = "ValueError: cause", "ValueError: other cause", "RuntimeError: a peer is lost"
  checkout.plan(
    training=[
      [failing(cause), failing(peer, after_s=0.5)],
      [failing(peer, after_s=0.5), failing(other)],
      [failing(cause), failing(peer, after_s=0.5)],
      [failing(cause), "hang"],
    ]
  )
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (1, 4)
  assert "starts 3 and 4 failed before the first step with the same error: 1: ValueError: cause" in done.stderr


def test_unavailable_slices_are_requested_again(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(slices=[["WAITING_FOR_RESOURCES", "FAILED"], ["PROVISIONING", "ACTIVE"]])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (0, 1)
  assert verbs(checkout)[:8] == [
    "describe", "create", "describe", "describe", "describe", "delete", "create", "describe",
  ]  # fmt: skip


def test_an_unavailable_state_is_queried_again_and_nothing_is_replaced(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(slices=[["ACTIVE", "UNAVAILABLE", "UNAVAILABLE", "ACTIVE"]])
  checkout.run("tpu.sh", "create")
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert (verbs(checkout).count("create"), verbs(checkout).count("delete")) == (1, 0)


def test_unreachable_workers_are_replaced_even_if_their_slice_is_active(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(training=["hang", 0])
  process = checkout.start("tpu.sh", "run")
  wait_for(lambda: starts(checkout) == 1)
  (checkout.standins / "unreachable").touch()  # until new workers are created
  process.communicate(timeout=TIMEOUT_S)
  assert (process.returncode, starts(checkout)) == (0, 2)
  assert verbs(checkout).count("create") == verbs(checkout).count("delete") + 1 == 2


def test_watching_can_be_interrupted_and_continued(tmp_path):
  checkout = Checkout(tmp_path, POLL_SECONDS=1)
  checkout.plan(training=["hang"])
  process = checkout.start("tpu.sh", "run")
  wait_for(lambda: starts(checkout) == 1)
  os.killpg(process.pid, signal.SIGINT)
  _, errors = process.communicate(timeout=TIMEOUT_S)
  assert process.returncode == 130
  assert "training continues" in errors
  process = checkout.start("tpu.sh", "run")
  assert "training is already running" in process.stdout.readline()
  assert starts(checkout) == 1
  os.killpg(process.pid, signal.SIGINT)
  process.communicate(timeout=TIMEOUT_S)
  assert checkout.run("tpu.sh", "stop").returncode == 0
  wait_until_ended(checkout)
