# shellcheck shell=bash
# Sourced by the other scripts of this folder: settings, quoting, DRY_RUN.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# 1: commands are printed, ready to paste, and not run.
DRY_RUN=${DRY_RUN:-0}
cd "$ROOT"

# Exit status for bad input, here as in the trainer: a retry would not help.
MISTAKE=2
# Exit status of a process stopped by Ctrl-C, which must not be restarted.
# shellcheck disable=SC2034 # read by tpu.sh
INTERRUPTED=130

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit "$MISTAKE"
}

# Prints its arguments as one line, quoted so that a shell parses it back into the same arguments.
quote() {
  local argument line=
  for argument; do
    [[ $argument =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || argument=${argument@Q}
    line+=" $argument"
  done
  printf '%s\n' "${line# }"
}

# Runs a command, or prints it if DRY_RUN is 1.
run() {
  if ((DRY_RUN)); then quote "$@"; else "$@"; fi
}

# Reads the settings: all those of the example must be set, and those given as arguments must not be empty.
read_settings() {
  local settings=${SETTINGS:-launch/settings.env} name
  [[ -f $settings ]] || fail "$settings does not exist; copy launch/settings.env.example to it and fill it in"
  # shellcheck source=settings.env.example
  source "$settings"
  while read -r name; do
    declare -p "$name" >/dev/null 2>&1 || fail "$name is not set; set it in $settings"
  done < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' launch/settings.env.example)
  for name; do
    [[ -n ${!name} ]] || fail "$name is empty; set it in $settings"
  done
  [[ $WORKDIR != *://* || $WORKDIR == gs://* ]] || fail "WORKDIR is $WORKDIR; it must be a path or gs://BUCKET/FOLDER"
  [[ $DATA_DIR != *://* ]] || fail "DATA_DIR is $DATA_DIR; it must be a path: set COPY_DATA_FROM to copy data there"
}

# Sets `trainer` to the trainer's command line without the flags that identify the process; arguments are more flags.
# shellcheck disable=SC2034
trainer_command() {
  trainer=(
    .venv/bin/python -m tireid_jax.main "--config=$CONFIG" "--stage=$STAGE" "--workdir=$WORKDIR"
    "--config.data_dir=$DATA_DIR" "${FLAGS[@]}" "$@"
  )
}
