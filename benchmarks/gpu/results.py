"""The results of a run: each is written as soon as it is measured; later runs and the tables read them."""

import dataclasses
import json
import pathlib

from tireid_jax.storage import files

DONE, FAILED, NOT_RUN = "done", "failed", "not run"
STATUSES = (DONE, FAILED, NOT_RUN)


@dataclasses.dataclass
class Results:
  """The result of each measurement and the machine that it ran on.

  Attributes:
    file: rewritten atomically at each change.
    run: name of this run, stored in each of its results.
    machines: {run: description of the machine}.
    rows: {"PART/NAME": {"status", "run", ...}}, results in the order of the plan.
  """

  file: pathlib.Path
  run: str
  machines: dict = dataclasses.field(default_factory=dict)
  rows: dict = dataclasses.field(default_factory=dict)

  def start(self, keys, former):
    """Marks all measurements as not run, except those taken from an earlier run.

    Args:
      keys: of this run's measurements.
      former: Results of an earlier run, or None.
    """
    self.rows = {key: {"status": NOT_RUN, "reason": "the run ended before it"} for key in keys}
    if former:
      self.machines.update(former.machines)
      self.rows.update(former.rows)
    self.write()

  def missing(self, keys):
    """Returns the keys that have not been measured yet."""
    return [key for key in keys if self.rows.get(key, {}).get("status") != DONE]

  def add(self, key, result):
    """Adds a result and writes the file; a measured result is never replaced by one that was not measured."""
    before = self.rows.get(key, {})
    if result["status"] == DONE or before.get("status") != DONE:
      self.rows[key] = {**result, "run": self.run}
      self.write()

  def add_machine(self, machine):
    """Adds the description of this run's machine and writes the file.

    Raises:
      ValueError: the file has results from another device.
    """
    for run, other in self.machines.items():
      if other["device"] != machine["device"]:
        raise ValueError(
          f"the results of {run} in --skip were measured on {other['device']!r}, but this is {machine['device']!r}; "
          f"omit --skip"
        )
    self.machines[self.run] = machine
    self.write()

  def write(self):
    files.write_json(self.file, {"machines": self.machines, "rows": self.rows})


def read(file):
  """Returns the Results of a file that a run wrote.

  Raises:
    ValueError, FileNotFoundError: there is no such file, or it was not written by a run.
  """
  file = pathlib.Path(file)
  if not file.is_file():
    raise FileNotFoundError(f"{file} does not exist; give the results.json of an earlier run")
  try:
    data = json.loads(file.read_text())
    if isinstance(data["machines"], dict) and all(row["status"] in STATUSES for row in data["rows"].values()):
      return Results(file, "", data["machines"], data["rows"])
  except (ValueError, TypeError, LookupError, AttributeError):
    pass
  raise ValueError(f"{file} is not the results.json of a run of benchmarks.gpu")
