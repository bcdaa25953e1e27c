# shellcheck shell=bash
# Sourced by worker.sh and slurm.sbatch: determines whether a start failed before its first training step, and how.
set -euo pipefail

STOPPED=143 # exit status after SIGTERM, which is not a failure

# Succeeds if the log shows a completed step: the trainer's progress line then has a rate, and `?` before.
has_trained() { # LOG
  grep --quiet --extended-regexp '^stage [0-9]+: .*[0-9](s/step|step/s)' "$1"
}

# Prints one line that identifies a failure before the first step: the exit status and the distinct errors in the log, or
# its last line if it has no errors. Numbers and temporary file names are masked, so that the same failure always gives
# the same line. Prints nothing for a failure after the first step.
early_failure() { # STATUS LOG
  if [[ $1 == "$STOPPED" ]] || has_trained "$2"; then return; fi
  printf '%s: ' "$1"
  {
    grep --extended-regexp '^(error:|([A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*(Error|Exception|Interrupt)(:|$))' "$2" ||
      tail -n 1 "$2"
  } | sed -E 's#/tmp/[^[:space:]:,"'\'']*#/tmp/N#g; s/0x[0-9a-f]+/N/g; s/[0-9]+/N/g' | LC_ALL=C sort -u | paste -s -d '|'
}
