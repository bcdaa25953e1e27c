"""The rows of a run: written as soon as each is there, and read back by later runs and by the tables."""

import dataclasses
import json
import pathlib

from tireid_jax.storage import files

DONE, FAILED, NOT_RUN = "done", "failed", "not run"
STATUSES = (DONE, FAILED, NOT_RUN)


@dataclasses.dataclass
class Results:
  """What is known of every row, and on which machine it was measured.

  Attributes:
    file: rewritten at each change, whole or not at all.
    run: name of this run, which every row that it measures has.
    machines: {run: what the run was measured on}.
    rows: {"PART/NAME": {"status", "run", ...}}, in the order in which they were planned.
  """

  file: pathlib.Path
  run: str
  machines: dict = dataclasses.field(default_factory=dict)
  rows: dict = dataclasses.field(default_factory=dict)

  def plan(self, keys, former):
    """Starts with all rows as not run, and with those that a former run has done.

    Args:
      keys: of the rows of this run.
      former: Results of an earlier run, or None.
    """
    self.rows = {key: {"status": NOT_RUN, "reason": "this run ended before"} for key in keys}
    if former:
      self.machines.update(former.machines)
      self.rows.update(former.rows)
    self.write()

  def missing(self, keys):
    """Returns those of the keys that are still to be measured."""
    return [key for key in keys if self.rows.get(key, {}).get("status") != DONE]

  def add(self, key, row):
    """Writes a row; a measured row is never replaced by one that was not measured."""
    before = self.rows.get(key, {})
    if row["status"] == DONE or before.get("status") != DONE:
      self.rows[key] = {**row, "run": self.run}
      self.write()

  def add_machine(self, machine):
    """Writes what this run is measured on.

    Raises:
      ValueError: if rows of the same file are of another device.
    """
    for run, other in self.machines.items():
      if other["device"] != machine["device"]:
        raise ValueError(
          f"the rows of {run} in --skip were measured on {other['device']!r}, and this is {machine['device']!r}; leave "
          f"--skip out"
        )
    self.machines[self.run] = machine
    self.write()

  def write(self):
    files.write_json(self.file, {"machines": self.machines, "rows": self.rows})


def read(file):
  """Returns the Results of a file that a run wrote; ValueError or FileNotFoundError where it is not one."""
  file = pathlib.Path(file)
  if not file.is_file():
    raise FileNotFoundError(f"{file} is not there; give the results.json of an earlier run")
  try:
    data = json.loads(file.read_text())
    if isinstance(data["machines"], dict) and all(row["status"] in STATUSES for row in data["rows"].values()):
      return Results(file, "", data["machines"], data["rows"])
  except (ValueError, TypeError, LookupError, AttributeError):
    pass
  raise ValueError(f"{file} is not the results.json of a run of benchmarks.gpu")
