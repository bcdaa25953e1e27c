# shellcheck shell=bash
# Read by worker.sh and slurm.sbatch: whether a start failed before its first training step, and how.
set -euo pipefail

STOPPED=143 # status after SIGTERM: no failure

# Succeeds if a log shows a step that was done: the trainer's progress line has a rate after the first one, and `?` before.
has_trained() { # LOG
  grep --quiet --extended-regexp '^stage [0-9]+: .*[0-9](s/step|step/s)' "$1"
}

# Prints one line that is the same for the same failure before the first step: the exit status and the errors in the log,
# each once, or its last line where none is an error. Times, process ids, addresses and temporary names are left out.
# Prints nothing for a failure after a step.
early_failure() { # STATUS LOG
  if [[ $1 == "$STOPPED" ]] || has_trained "$2"; then return; fi
  printf '%s: ' "$1"
  {
    grep --extended-regexp '^(error:|([A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*(Error|Exception|Interrupt)(:|$))' "$2" ||
      tail -n 1 "$2"
  } | sed -E 's#/tmp/[^[:space:]:,"'\'']*#/tmp/N#g; s/0x[0-9a-f]+/N/g; s/[0-9]+/N/g' | LC_ALL=C sort -u | paste -s -d '|'
}
