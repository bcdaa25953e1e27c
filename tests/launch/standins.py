"""What the launch scripts call, played here: gcloud, sbatch, srun, scontrol, sky, and the programs of a TPU worker.

`install` makes programs that run this file as NAME; it records the call in STANDINS/calls.jsonl and does what NAME does
as far as the scripts can tell. A TPU worker is a folder, STANDINS/worker-N, that is home to what ssh runs there. Files
of STANDINS tell how it goes: `slices.json`, for each creation the states that `describe` answers in turn, the last one
for good; `training.json`, for each start on a worker what training does (see `trainer`); `unreachable`, that
no worker answers.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

FOLDER = pathlib.Path(os.environ.get("STANDINS", "."))
CALLS = "calls.jsonl"
NUM_WORKERS = 2
# Once a slice is in one of these states, its machines are gone.
TAKEN = ("SUSPENDING", "SUSPENDED", "FAILED")
SSH_FAILED = 255


def install(folder, *names):
  """Makes the programs in folder/bin, to be put on the PATH."""
  (folder / "bin").mkdir(parents=True, exist_ok=True)
  for name in names:
    write_program(folder / "bin" / name, name)


def write_program(path, name):
  path.write_text(f'#!/bin/sh\nexec {sys.executable} {pathlib.Path(__file__).resolve()} {name} "$@"\n')
  path.chmod(0o755)


def record(name, arguments, **more):
  process = os.environ.get("SLURM_PROCID")  # on a worker or in a task
  with (FOLDER / CALLS).open("a") as file:
    file.write(json.dumps({"program": name, "args": arguments, "process": process, "id": os.getpid(), **more}) + "\n")


def read(name, default):
  path = FOLDER / name
  return json.loads(path.read_text()) if path.exists() else default


def write(name, data):
  (FOLDER / name).write_text(json.dumps(data))


def flag(arguments, name):
  """Returns the value of --name=value."""
  return next(argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}="))


def gcloud(arguments):
  if arguments[:3] != ["compute", "tpus", "queued-resources"]:
    return record("gcloud", arguments)
  verb, states = arguments[3], read("states.json", [])
  if verb != "create" and not states:
    record("gcloud", arguments, answer="NOT_FOUND")
    print(f"ERROR: (gcloud.compute.tpus.queued-resources.{verb}) NOT_FOUND: Resource was not found", file=sys.stderr)
    return 1
  if verb == "describe":
    return describe(arguments, states)
  record("gcloud", arguments)
  return {"create": create, "delete": delete, "scp": scp, "ssh": ssh}[verb](arguments)


def create(arguments):
  del arguments
  (FOLDER / "unreachable").unlink(missing_ok=True)
  coming = read("slices.json", [["ACTIVE"]])
  write("states.json", coming[0])
  write("slices.json", coming[1:] or coming)
  for worker in range(NUM_WORKERS):
    (FOLDER / f"worker-{worker}").mkdir()


def describe(arguments, states):
  record("gcloud", arguments, answer=states[0])
  if states[0] in TAKEN:
    take_machines()
  write("states.json", states[1:] or states)
  if states[0] == "UNAVAILABLE":
    print("ERROR: (gcloud.compute.tpus.queued-resources.describe) UNAVAILABLE: try again", file=sys.stderr)
    return 1
  return print(states[0])


def delete(arguments):
  del arguments
  take_machines()
  (FOLDER / "states.json").unlink()


def preempt():
  """What Google does with spot slices, called by a test."""
  write("states.json", ["SUSPENDED"])
  take_machines()


def take_machines():
  """Ends all that runs on the workers, at once, and removes them."""
  for worker in FOLDER.glob("worker-*"):
    group = worker / "tireid_jax_run/group"
    if group.exists():
      with contextlib.suppress(ProcessLookupError):
        os.killpg(int(group.read_text()), signal.SIGKILL)
    shutil.rmtree(worker, ignore_errors=True)  # what still runs there may write


def scp(arguments):
  archive = next(argument for argument in arguments if argument.endswith(".tar.gz"))
  for worker in FOLDER.glob("worker-*"):
    shutil.copy(archive, worker)


def ssh(arguments):
  """Runs the command on the workers at once; as gcloud does, it is split at spaces, and ssh joins it again."""
  workers = sorted(FOLDER.glob("worker-*"))
  if flag(arguments, "worker") != "all":
    workers = [workers[int(flag(arguments, "worker"))]]
  if not workers or (FOLDER / "unreachable").exists():
    return SSH_FAILED
  command = " ".join(flag(arguments, "command").split(" "))
  running = [
    subprocess.Popen(["bash", "-c", command], cwd=worker, env=process_environment(number, len(workers), HOME=worker))
    for number, worker in enumerate(workers)
  ]
  return next((status for status in [process.wait() for process in running] if status), 0)


def process_environment(number, num_processes, **more):
  """Returns what one of several processes finds. No TPU tells it which it is; SLURM's variables do, on workers, too."""
  slurm = {
    "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "1"),
    "SLURM_STEP_NODELIST": "127.0.0.1",
    "SLURM_NTASKS": num_processes,
    "SLURM_PROCID": number,
    "SLURM_LOCALID": 0,
  }
  return {**os.environ, **{name: str(value) for name, value in {**slurm, **more}.items()}}


def uv(arguments):
  """Makes an environment: the one that ENVIRONMENT names, or one whose python is the `trainer` below."""
  record("uv", arguments)
  if arguments[0] == "venv":
    environment = pathlib.Path(arguments[-1])
    if "ENVIRONMENT" in os.environ:
      environment.symlink_to(os.environ["ENVIRONMENT"])
    else:
      (environment / "bin").mkdir(parents=True)
      write_program(environment / "bin/python", "trainer")


def trainer(arguments):
  """Does what STANDINS/training.json says for this start of this process.

  For each start: an exit status, "hang" until a signal ends it, "save" for a while when SIGTERM comes, "deaf" that only
  SIGKILL ends, {"prints": text, "status": status, "after_s": seconds until then}, or a list with one of these for each
  process; the last for all later starts.
  """
  record("trainer", arguments)
  process = int(os.environ.get("SLURM_PROCID") or flag(arguments, "process_id"))
  starts = read(f"starts-{process}.json", 0)
  write(f"starts-{process}.json", starts + 1)
  plan = read("training.json", [0])
  plan = plan[min(starts, len(plan) - 1)]
  does = plan[process] if isinstance(plan, list) else plan
  if isinstance(does, dict):
    time.sleep(does["after_s"])
    print(does["prints"], file=sys.stderr, flush=True)
    return does["status"]
  if does == "deaf":
    signal.signal(signal.SIGTERM, lambda *_: record("deaf", []))
  if does == "save":
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), record("saved", []), sys.exit(128 + signal.SIGTERM)))
  if does in ("hang", "save", "deaf"):
    os.write(1, b"training\n")  # in one piece, for several write there
    time.sleep(600)
  return does


def srun(arguments):
  """Runs the command in two tasks. After the first end the other has --wait seconds; the highest status is srun's.

  What a task leaves behind is killed.
  """
  record("srun", arguments)
  first = next(place for place, argument in enumerate(arguments) if not argument.startswith("-"))
  tasks = [
    subprocess.Popen(arguments[first:], env=process_environment(number, 2), start_new_session=True)
    for number in range(2)
  ]
  signal.signal(signal.SIGTERM, lambda *_: signal_all(tasks, signal.SIGTERM))
  statuses = {}
  deadline = float("inf")
  while len(statuses) < len(tasks):
    statuses |= {task.pid: task.returncode for task in tasks if task.poll() is not None}
    if statuses:
      signal_all([task for task in tasks if task.pid in statuses], signal.SIGKILL)
      deadline = min(deadline, time.monotonic() + float(flag(arguments, "wait")))
    if time.monotonic() > deadline:
      signal_all(tasks, signal.SIGKILL)
    time.sleep(0.01)
  return max(status if status >= 0 else 128 - status for status in statuses.values())


def signal_all(tasks, number):
  for task in tasks:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(task.pid, number)


def sudo(arguments):
  """Of what is done as root, only an installation shows."""
  record("sudo", arguments)
  if "tee" in arguments:
    sys.stdin.read()
  if "apt-get" in arguments and "install" in arguments:
    install(FOLDER, arguments[-1])


def mountpoint(arguments):
  record("mountpoint", arguments)
  return 1


PLAYED = {
  "gcloud": gcloud, "uv": uv, "trainer": trainer, "srun": srun, "sudo": sudo, "mountpoint": mountpoint,
}  # fmt: skip


if __name__ == "__main__":
  name, *arguments = sys.argv[1:]
  sys.exit(PLAYED[name](arguments) if name in PLAYED else record(name, arguments))
