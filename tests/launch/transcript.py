"""Writes docs/launch_transcript.md: the calls of a complete run on TPUs with a preemption.

python -m tests.launch.transcript > docs/launch_transcript.md
"""

import pathlib
import shlex
import tempfile

from tests.launch.checkout import Checkout

PAGE = "docs/launch_transcript.md"
COMMAND = __doc__.splitlines()[-1]
HEAD = f"""# A run on TPUs, call by call

The calls of `launch/tpu.sh`, recorded by stand-ins for `gcloud` and for two workers: two slices are requested, set up
and start to train; they are preempted and requested again, and training resumes and completes. `#` marks what
`describe` returned. A test checks that this page is up to date; it is written by
`{COMMAND}`.

"""
SETTINGS = {
  "ACCELERATOR_TYPE": "v5litepod-8",
  "NUM_SLICES": 2,
  "SHARED": "10.0.0.2:/share",
  "FLAGS": ["--config.data.image_size=(384,128)"],
}
# The first slices are preempted while training runs; the second ones remain.
SLICES = [["WAITING_FOR_RESOURCES", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED"], ["PROVISIONING", "ACTIVE"]]
TRAINING = ["hang", 0]


def write(folder):
  """Runs it in `folder` and returns the page."""
  checkout = Checkout(folder, **SETTINGS)
  checkout.plan(slices=SLICES, training=TRAINING)
  page = HEAD
  for verb in ("create", "setup", "run", "delete"):
    checkout.clear_records()
    done = checkout.run("tpu.sh", verb)
    assert done.returncode == 0, done.stderr
    calls = _without_repeated_polls(checkout.records("gcloud"))
    lines = "\n".join(_lines(calls, checkout.records("trainer")))
    page += f"```\n$ launch/tpu.sh {verb}\n{lines}\n```\n\n"
  return page.rstrip("\n").replace(str(folder), "/mnt") + "\n"


def _without_repeated_polls(calls):
  """Omits polls of running training that are followed by another one, because their number depends on timing."""
  is_poll = ["worker.sh state" in call["args"][-1] for call in calls] + [False, False]
  is_early = [is_poll[index] and is_poll[index + 2] for index in range(len(calls))]
  return [call for index, call in enumerate(calls) if not (is_early[index] or (index and is_early[index - 1]))]


def _lines(calls, trainers):
  """Returns a line per call, and below each start a line per worker."""
  lines, of_workers = [], [f"  worker {call['process']}: .venv/bin/python {_quote(call['args'])}" for call in trainers]
  for call in calls:
    answer = f"  # {call['answer']}" if "answer" in call else ""
    lines.append(f"gcloud {_quote(call['args'])}{answer}")
    if "worker.sh start" in call["args"][-1]:
      lines += sorted(of_workers[:2])
      of_workers = of_workers[2:]
  return lines + of_workers


def _quote(arguments):
  """Quotes like shlex.join, but with double quotes around arguments with single quotes where that suffices."""
  return " ".join(
    f'"{argument}"' if "'" in argument and not set('"$`\\!') & set(argument) else shlex.quote(argument)
    for argument in arguments
  )


if __name__ == "__main__":
  with tempfile.TemporaryDirectory() as folder:
    print(write(pathlib.Path(folder)), end="")
