# shellcheck shell=bash
# Read by the scripts beside it: settings, quoting, DRY_RUN.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# 1: commands are printed, so that they can be pasted, and none runs.
DRY_RUN=${DRY_RUN:-0}
cd "$ROOT"

# Status of a user's mistake, here as in the trainer: trying again does not help.
MISTAKE=2
# Status of a process that Ctrl-C stopped: a person wants it to end.
# shellcheck disable=SC2034 # read by tpu.sh
INTERRUPTED=130

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit "$MISTAKE"
}

# Prints its arguments as one line that a shell reads back as the same arguments.
quote() {
  local argument line=
  for argument; do
    [[ $argument =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || argument=${argument@Q}
    line+=" $argument"
  done
  printf '%s\n' "${line# }"
}

# Runs a command, or prints it where DRY_RUN is 1.
run() {
  if ((DRY_RUN)); then quote "$@"; else "$@"; fi
}

# Reads the settings: all that the example has must be there, and those that are named must not be empty.
read_settings() {
  local settings=${SETTINGS:-launch/settings.env} name
  [[ -f $settings ]] || fail "there is no $settings; copy launch/settings.env.example to it and fill it in"
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

# Sets `trainer` to the command line of training, without what says which process it is; arguments are more flags.
# shellcheck disable=SC2034
trainer_command() {
  trainer=(
    .venv/bin/python -m tireid_jax.main "--config=$CONFIG" "--stage=$STAGE" "--workdir=$WORKDIR"
    "--config.data_dir=$DATA_DIR" "${FLAGS[@]}" "$@"
  )
}
