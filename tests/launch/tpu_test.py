"""TPU pods: which gcloud calls are made when all goes well, and when it does not."""

import os
import signal

from tests.commands import ROOT
from tests.launch import transcript
from tests.launch.checkout import AFTER, OVERRIDES, TIMEOUT_S, Checkout, ended, failing, wait_for


def verbs(checkout):
  """Returns what was asked of gcloud."""
  return [call[3] for call in checkout.calls("gcloud")]


def starts(checkout):
  """Returns how often training was started on each of the two workers."""
  return len(checkout.calls("trainer")) / 2


def test_the_transcript_of_a_run_with_a_preemption_is_the_one_in_docs(tmp_path):
  assert transcript.write(tmp_path) == (ROOT / transcript.PAGE).read_text(), f"write it anew: {transcript.COMMAND}"


def test_several_slices_on_demand_over_nfs(tmp_path):
  checkout = Checkout(tmp_path, NUM_SLICES=4, SPOT=0, SHARED="10.0.0.2:/share", CREATE_FLAGS=["--reserved"])
  assert checkout.run("tpu.sh", "create").returncode == 0
  assert checkout.calls()[0][6:] == [
    "tireid", "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--node-count=4",
    "--node-prefix=tireid", "--metadata=enable-oslogin=TRUE", "--reserved",
  ]  # fmt: skip


def test_overrides_reach_the_trainer_on_every_worker_as_they_are(tmp_path):
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


def test_run_alone_requests_and_sets_up_what_is_not_there(tmp_path):
  checkout = Checkout(tmp_path)
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert verbs(checkout)[:5] == ["describe", "create", "describe", "scp", "ssh"]
  checkout.forget()
  (checkout.standins / "worker-1/tireid_jax/.set_up").unlink()
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert verbs(checkout)[:5] == ["describe", "ssh", "scp", "ssh", "ssh"]


def test_a_users_mistake_is_not_repeated(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(training=[[2, "hang"]])  # the other process still waits for the one that refused
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (2, 1)
  assert "tireid_jax_run/log ends with" in done.stderr
  ended(checkout)


def test_what_ctrl_c_stopped_is_not_repeated(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(training=[[130, 130]])
  assert (checkout.run("tpu.sh", "run").returncode, starts(checkout)) == (130, 1)


def test_a_crash_is_repeated_on_the_same_slices_until_the_tries_are_used_up(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=3)
  checkout.plan(training=[[failing("ValueError: it is worn out", log=AFTER), "hang"]])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (1, 3)
  assert done.stderr.endswith("error: training is not complete after 3 starts\n")
  assert verbs(checkout).count("create") == 1
  ended(checkout)


def test_the_second_equal_failure_before_the_first_step_is_the_last(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=5)
  refused = [f"jax.errors.JaxRuntimeError: 10.0.0.2:{port} refused, see /tmp/t{port}/log" for port in (40118, 40230)]
  checkout.plan(training=[[failing(text, status=134), "hang"] for text in refused])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (134, 2)
  assert done.stderr.endswith(
    "error: starts 1 and 2 failed before the first step with the same error: "
    "134: jax.errors.JaxRuntimeError: N.N.N.N:N refused, see /tmp/N\n"
  )
  assert refused[1] in done.stderr
  ended(checkout)


def test_failures_that_differ_or_follow_a_step_are_repeated(tmp_path):
  checkout = Checkout(tmp_path, MAX_TRIES=6)
  one, late = failing("ValueError: one"), failing("ValueError: late", log=AFTER)
  differing = [one, failing("ValueError: other"), one, failing("ValueError: one", status=3), late, late]
  checkout.plan(training=[[does, "hang"] for does in differing])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (1, 6)
  assert done.stderr.endswith("error: training is not complete after 6 starts\n")
  ended(checkout)


def test_what_the_first_worker_to_fail_tells_is_compared(tmp_path):
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


def test_slices_that_cannot_be_had_are_requested_again(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(slices=[["WAITING_FOR_RESOURCES", "FAILED"], ["PROVISIONING", "ACTIVE"]])
  done = checkout.run("tpu.sh", "run")
  assert (done.returncode, starts(checkout)) == (0, 1)
  assert verbs(checkout)[:8] == [
    "describe", "create", "describe", "describe", "describe", "delete", "create", "describe",
  ]  # fmt: skip


def test_a_state_that_cannot_be_had_is_asked_again_and_nothing_is_replaced(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(slices=[["ACTIVE", "UNAVAILABLE", "UNAVAILABLE", "ACTIVE"]])
  checkout.run("tpu.sh", "create")
  assert checkout.run("tpu.sh", "run").returncode == 0
  assert (verbs(checkout).count("create"), verbs(checkout).count("delete")) == (1, 0)


def test_workers_that_do_not_answer_are_replaced_though_said_to_be_there(tmp_path):
  checkout = Checkout(tmp_path)
  checkout.plan(training=["hang", 0])
  process = checkout.start("tpu.sh", "run")
  wait_for(lambda: starts(checkout) == 1)
  (checkout.standins / "unreachable").touch()  # until there are new ones
  process.communicate(timeout=TIMEOUT_S)
  assert (process.returncode, starts(checkout)) == (0, 2)
  assert verbs(checkout).count("create") == verbs(checkout).count("delete") + 1 == 2


def test_watching_can_be_interrupted_and_taken_up_again(tmp_path):
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
  ended(checkout)
