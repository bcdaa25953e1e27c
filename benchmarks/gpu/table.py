"""Formats the results of a run as Markdown tables, and inserts them into docs/gpu.md.

python -m benchmarks.gpu.table gpu_results/results.json                       prints the tables
python -m benchmarks.gpu.table gpu_results/results.json --into=docs/gpu.md    between its markers
"""

import argparse
import pathlib
import sys

from benchmarks.gpu import plan, results

BEGIN, END = "<!-- tables: python -m benchmarks.gpu.table -->", "<!-- end of the tables -->"
# Shown for results that are missing.
MISSING = "not run yet"
# (step, form of the reference, target of the ratio).
RATIOS = (
  ("ViT-B/16, stage 2, batch 64", "strongest", 1.3),
  ("ViT-B/16, stage 2, batch 64", "published", 2.0),
  ("ViT-B/16, stage 2, batch 256", "strongest", 1.3),
  ("ViT-L/14, stage 2, batch 64", "strongest", 1.3),
  ("ViT-L/14, stage 2, batch 64", "published", 2.0),
  ("ViT-B/16, stage 1, batch 64", "strongest", None),
)
FRACTIONS = {"ViT-B/16, stage 2, batch 64": "0.40 (0.45)", "ViT-L/14, stage 2, batch 64": "0.50 (0.60)"}


def markdown(header, rows):
  """Returns a table; all columns but the first are aligned to the right."""
  lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
  return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def cell(result, field, form="{}"):
  """Returns a field of a result as text, or why it is missing."""
  if result.get("status") == results.FAILED:
    return "failed"
  if result.get("fits") is False:
    return "does not fit"
  value = result.get(field)
  return MISSING if value is None else form.format(value)


def machines(found):
  """Returns a line for each run that describes its machine."""
  lines = []
  for run, machine in found.machines.items():
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines.append(f"- {run} UTC: {machine['device']}, Python {machine['python']}, {versions}")
  return "\n".join(lines) or f"- {MISSING}"


def correct(found):
  """Returns the table of checks."""
  return markdown(
    ["check", "result", "difference", "bound", "what"],
    [
      [
        one.name,
        {True: "ok", False: "NOT OK"}.get(result.get("ok"), cell(result, "ok")),
        cell(result, "difference", "{:.2g}") if "cudnn" not in result else _attention(result),
        cell(result, "bound", "{:.2g}") if "cudnn" not in result else "",
        result.get("reason") or result.get("detail", ""),
      ]
      for one, result in _results(found, plan.CORRECT)
    ],
  )


def _attention(result):
  if not result["cudnn"]:
    return ""
  return ", ".join(f"{name} {result['cudnn'][name]:.2g} (ours {ours:.2g})" for name, ours in result["ours"].items())


def speed(found):
  """Returns the table of steps."""
  steps = [(one, result) for one, result in _results(found, plan.SPEED) if one.call == "speed.step"]
  return markdown(
    ["step", "pairs/s", "ms", "fraction of the matrix rate", "target (aim)", "GiB", "how", "compile, s"],
    [
      [
        one.name,
        cell(result, "pairs_per_s", "{:,.0f}"),
        cell(result, "step_ms", "{:.2f}"),
        cell(result, "fraction_of_rate", "{:.3f}"),
        FRACTIONS.get(one.name, ""),
        cell(result, "memory_gib", "{:.2f}"),
        ", ".join(result[name] for name in ("attention", "blocks", "remat")) if "attention" in result else "",
        cell(result, "compile_s", "{:.0f}"),
      ]
      for one, result in steps
    ],
  )  # fmt: skip


def host(found):
  """Returns the table of the other measurements of `speed`, which lists their fields."""
  lines = []
  for one, result in _results(found, plan.SPEED):
    if one.call != "speed.step":
      measured = {name: value for name, value in result.items() if name not in ("status", "run", "settings", "row_s")}
      shown = ", ".join(f"{name} {value}" for name, value in measured.items() if name != "reason")
      lines.append([one.name, shown or (result["reason"] if result.get("status") == results.FAILED else MISSING)])
  return markdown(["what", "measured"], lines)


def ratios(found):
  """Returns the table of both sides; a ratio compares two results of the same run."""
  lines = []
  for name, form, target in RATIOS:
    ours, theirs = found.rows.get(f"speed/{name}", {}), found.rows.get(f"peer/{name}, {form}", {})
    both = "pairs_per_s" in ours and "pairs_per_s" in theirs and ours["run"] == theirs["run"]
    ratio = f"{ours['pairs_per_s'] / theirs['pairs_per_s']:.2f}" if both else MISSING
    memory = f"{theirs['memory_gib'] / ours['memory_gib']:.2f}" if both and theirs.get("memory_gib") else MISSING
    lines.append([
      f"{name}, {form}", cell(theirs, "pairs_per_s", "{:,.0f}"), cell(ours, "pairs_per_s", "{:,.0f}"), ratio,
      target or "", cell(theirs, "memory_gib", "{:.2f}"), cell(ours, "memory_gib", "{:.2f}"), memory,
    ])  # fmt: skip
  return markdown(
    [
      "step",
      "reference, pairs/s",
      "ours, pairs/s",
      "ratio",
      "target",
      "reference, GiB",
      "ours, GiB",
      "ratio of memory",
    ],
    lines,
  )


def fastest(found):
  """Returns a line that says whether `auto` is the fastest measured choice."""
  base = found.rows.get(f"speed/{plan.BASE}", {})
  choices = [plan.step(**choice).key for choice in plan.CHOICES]
  measured = {key: found.rows[key]["step_ms"] for key in choices if "step_ms" in found.rows.get(key, {})}
  if "step_ms" not in base or not measured:
    return f"Whether `auto` is the fastest: {MISSING}."
  missing = len(choices) - len(measured)
  key = min(measured, key=lambda name: measured[name])
  verdict = "is" if base["step_ms"] <= measured[key] else "is NOT"
  return (
    f"`auto` {verdict} the fastest of those measured: {base['step_ms']:.2f} ms, the best other {measured[key]:.2f} ms "
    f"({key.removeprefix(f'speed/{plan.BASE}, ')}); {missing} of the other choices {MISSING}."
  )


def profiles(found):
  """Returns the tables of profiles."""
  parts = []
  for one, result in _results(found, plan.PROFILE):
    parts.append(
      f"{one.name}: ms a step {cell(result, 'step_ms')}, of which idle {cell(result, 'idle_fraction', '{:.1%}')}"
    )
    kinds = [[kind, f"{value:.1%}"] for kind, value in result.get("fractions", {}).items()]
    operations = [[f"`{o['operation']}`", f"{o['fraction']:.1%}"] for o in result.get("operations", [])]
    if kinds:
      parts.append(markdown(["kernels", "fraction of their time"], [*kinds, *operations]))
  return "\n\n".join(parts)


def topology(found):
  """Returns a line for each mock topology."""
  return "\n".join(
    f"- {one.name}: devices by slice_index {cell(result, 'devices_by_slice_index')}, processes "
    f"{cell(result, 'processes_by_slice_index')}"
    for one, result in _results(found, plan.TOPOLOGY)
  )


def tables(found):
  """Returns all tables as Markdown."""
  return "\n\n".join([
    "### Machines", machines(found), "### Correctness", correct(found),
    "### Compared with the reference", ratios(found),
    "### Steps", speed(found), fastest(found), "### Other measurements", host(found), "### Profile", profiles(found),
    "### Mock topology", topology(found),
  ])  # fmt: skip


def put(file, text):
  """Replaces the text between the markers in a file."""
  before, begin, rest = file.read_text().partition(BEGIN)
  _, end, after = rest.partition(END)
  if not begin or not end:
    raise ValueError(f"{file} has no {BEGIN} followed by {END}")
  file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _results(found, measurements):
  return [(one, found.rows.get(one.key, {})) for one in measurements]


def main(arguments=None):
  """Prints or inserts the tables and returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("results", nargs="?", help="results.json of a run; without it every result is 'not run yet'")
  parser.add_argument("--into", type=pathlib.Path, help="Markdown file with the markers")
  args = parser.parse_args(arguments)
  try:
    found = results.read(args.results) if args.results else results.Results(pathlib.Path(), "")
    if args.into:
      put(args.into, tables(found))
    else:
      print(tables(found))
  except (ValueError, FileNotFoundError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
