"""Stand-ins for programs that the launch scripts call: gcloud, sbatch, srun, scontrol, sky, and those of a TPU worker.

`install` creates programs that run this file as NAME. It records each call in STANDINS/calls and imitates NAME as far
as the scripts can observe. A TPU worker is a folder, STANDINS/worker-N: the home directory of the commands that ssh
runs there. Files in STANDINS control the stand-ins:
- `slices.json`: for each creation, the states that `describe` returns in turn; the last one is repeated.
- `training.json`: what training does at each start on a worker (see `trainer`).
- `unreachable`: if this file exists, no worker responds.
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
CALLS = "calls"
NUM_WORKERS = 2
# States of a slice whose machines are gone.
GONE_STATES = ("SUSPENDING", "SUSPENDED", "FAILED")
SSH_FAILED = 255


def install(folder, *names):
  """Creates the programs in folder/bin, which must be put on the PATH."""
  (folder / "bin").mkdir(parents=True, exist_ok=True)
  for name in names:
    write_program(folder / "bin" / name, name)


def write_program(path, name):
  path.write_text(f'#!/bin/sh\nexec {sys.executable} {pathlib.Path(__file__).resolve()} {name} "$@"\n')
  path.chmod(0o755)


def record(name, arguments, **more):
  """Writes a call to a file of its own, since several programs may do so at once; names sort by time."""
  process = os.environ.get("SLURM_PROCID")  # on a worker or in a task
  call = {"program": name, "args": arguments, "process": process, "id": os.getpid(), **more}
  path = FOLDER / CALLS / f"{time.monotonic_ns():020}-{os.getpid()}.json"
  path.parent.mkdir(exist_ok=True)
  unfinished = path.with_suffix(".part")
  unfinished.write_text(json.dumps(call))
  unfinished.rename(path)


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
  upcoming = read("slices.json", [["ACTIVE"]])
  write("states.json", upcoming[0])
  write("slices.json", upcoming[1:] or upcoming)
  for worker in range(NUM_WORKERS):
    (FOLDER / f"worker-{worker}").mkdir()


def describe(arguments, states):
  record("gcloud", arguments, answer=states[0])
  if states[0] in GONE_STATES:
    remove_machines()
  write("states.json", states[1:] or states)
  if states[0] == "UNAVAILABLE":
    print("ERROR: (gcloud.compute.tpus.queued-resources.describe) UNAVAILABLE: try again", file=sys.stderr)
    return 1
  return print(states[0])


def delete(arguments):
  del arguments
  remove_machines()
  (FOLDER / "states.json").unlink()


def preempt():
  """Preempts the slices, as Google does with spot slices; called by tests."""
  write("states.json", ["SUSPENDED"])
  remove_machines()


def remove_machines():
  """Kills all processes on the workers and removes the workers."""
  for worker in FOLDER.glob("worker-*"):
    group = worker / "tireid_jax_run/group"
    if group.exists():
      with contextlib.suppress(ProcessLookupError):
        os.killpg(int(group.read_text()), signal.SIGKILL)
    shutil.rmtree(worker, ignore_errors=True)  # a process that still runs may write there


def scp(arguments):
  archive = next(argument for argument in arguments if argument.endswith(".tar.gz"))
  for worker in FOLDER.glob("worker-*"):
    shutil.copy(archive, worker)


def ssh(arguments):
  """Runs the command on the workers in parallel. Like gcloud, it splits the command at spaces; ssh rejoins it."""
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
  """Returns the environment of one process. Without a TPU, SLURM's variables give the index, also on workers."""
  slurm = {
    "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "1"),
    "SLURM_STEP_NODELIST": "127.0.0.1",
    "SLURM_NTASKS": num_processes,
    "SLURM_PROCID": number,
    "SLURM_LOCALID": 0,
  }
  return {**os.environ, **{name: str(value) for name, value in {**slurm, **more}.items()}}


def uv(arguments):
  """Creates an environment: a link to the one that ENVIRONMENT names, or one whose python is the `trainer` below."""
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

  The file has an entry per start, and the last entry is also used for all later starts. An entry is an exit status;
  "hang", until a signal ends the process; "save", which takes a second after SIGTERM; "ignore", until SIGKILL;
  {"prints": text, "status": exit status, "after_s": delay in seconds}; or a list with one of these per process.
  """
  record("trainer", arguments)
  process = int(os.environ.get("SLURM_PROCID") or flag(arguments, "process_id"))
  starts = read(f"starts-{process}.json", 0)
  write(f"starts-{process}.json", starts + 1)
  plan = read("training.json", [0])
  plan = plan[min(starts, len(plan) - 1)]
  action = plan[process] if isinstance(plan, list) else plan
  if isinstance(action, dict):
    time.sleep(action["after_s"])
    print(action["prints"], file=sys.stderr, flush=True)
    return action["status"]
  if action == "ignore":
    signal.signal(signal.SIGTERM, lambda *_: record("ignore", []))
  if action == "save":
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), record("saved", []), sys.exit(128 + signal.SIGTERM)))
  if action in ("hang", "save", "ignore"):
    os.write(1, b"training\n")  # in a single write, because several processes write there
    time.sleep(600)
  return action


def srun(arguments):
  """Runs the command in two tasks and returns the higher exit status.

  Once one task has ended, the other has --wait seconds left. Processes that a task leaves behind are killed.
  """
  record("srun", arguments)
  first = next(index for index, argument in enumerate(arguments) if not argument.startswith("-"))
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
  """Records the call. Of commands that run as root, only an installation has an effect."""
  record("sudo", arguments)
  if "tee" in arguments:
    sys.stdin.read()
  if "apt-get" in arguments and "install" in arguments:
    install(FOLDER, arguments[-1])


def mountpoint(arguments):
  record("mountpoint", arguments)
  return 1


IMITATED = {
  "gcloud": gcloud, "uv": uv, "trainer": trainer, "srun": srun, "sudo": sudo, "mountpoint": mountpoint,
}  # fmt: skip


if __name__ == "__main__":
  name, *arguments = sys.argv[1:]
  sys.exit(IMITATED[name](arguments) if name in IMITATED else record(name, arguments))
