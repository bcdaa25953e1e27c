#!/usr/bin/env bash
# Trains on TPU slices, requested as queued resources: one or several, spot or on demand.
#
#   launch/tpu.sh create        request the slices and wait until they are active
#   launch/tpu.sh setup         set up code, environment, data and shared folder on every worker; repeat after code changes
#   launch/tpu.sh run [FLAGS]   train to completion: starts on every worker, or follows a run in progress. Missing or
#                               preempted slices are requested and set up, and the same command resumes from the last
#                               checkpoint. FLAGS are additional flags of the trainer
#   launch/tpu.sh log           show the output of process 0
#   launch/tpu.sh stop          save and stop on every worker
#   launch/tpu.sh delete        delete the slices
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ARCHIVE=tireid_jax.tar.gz
NOT_SET_UP=3         # exit status of a start on a worker that has to be set up first
MAX_UNREACHABLE=3    # consecutive failed ssh calls after which slices are replaced, even if their state is ACTIVE
MAX_UNKNOWN=30       # maximum consecutive failed queries of the slices' state
early_failure=''     # the failure of the previous start, if it was before the first step
state=UNKNOWN        # last known state of the queued resource
unreachable=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

queued_resources() { # VERB ARGUMENTS...
  run gcloud compute tpus queued-resources "$1" "--project=$PROJECT" "--zone=$ZONE" "${@:2}"
}

# Runs a command line in the home folder of every worker of every slice.
on_workers() {
  local status=0
  queued_resources ssh "$NAME" "${SSH_FLAGS[@]}" --node=all --worker=all "--command=$1" || status=$?
  case $status in
    0 | "$MISTAKE" | "$NOT_SET_UP") unreachable=0 ;;
    *) unreachable=$((unreachable + 1)) ;;
  esac
  return "$status"
}

# Runs launch/worker.sh on every worker.
worker() { on_workers "cd tireid_jax && $(quote bash launch/worker.sh "$@")"; }

query_state() {
  if ((DRY_RUN)); then
    queued_resources describe "$NAME" '--format=value(state.state)'
    state=ACTIVE # a dry run prints the calls of a run without failures
  elif ! state=$(queued_resources describe "$NAME" '--format=value(state.state)' 2>"$scratch/error"); then
    state=UNKNOWN
    if grep -q NOT_FOUND "$scratch/error"; then state=NONE; else cat "$scratch/error" >&2; fi
  fi
}

# Waits until the state of the slices settles; succeeds if they are active.
await_slices() {
  local before='' unknown=0
  while :; do
    query_state
    [[ $state == "$before" ]] || say "$NAME is $state"
    before=$state
    case $state in
      ACTIVE) return 0 ;;
      NONE | FAILED | SUSPENDED) return 1 ;;
      UNKNOWN)
        unknown=$((unknown + 1))
        if ((unknown == MAX_UNKNOWN)); then say "error: cannot query the state of $NAME"; exit 1; fi
        ;;
      *) unknown=0 ;;
    esac
    sleep "$POLL_SECONDS"
  done
}

create() {
  local flags=("--accelerator-type=$ACCELERATOR_TYPE" "--runtime-version=$RUNTIME_VERSION")
  if ((NUM_SLICES > 1)); then
    flags+=("--node-count=$NUM_SLICES" "--node-prefix=$NAME")
  else
    flags+=("--node-id=$NAME")
  fi
  if ((SPOT)); then flags+=(--spot); fi
  # NFS requires that a user has the same id on every worker, which OS Login ensures.
  if [[ $SHARED == *:/* && $SHARED != gs://* ]]; then flags+=(--metadata=enable-oslogin=TRUE); fi
  queued_resources create "$NAME" "${flags[@]}" "${CREATE_FLAGS[@]}" && await_slices
}

setup() {
  run tar -czf "$ARCHIVE" --exclude=__pycache__ --exclude=settings.env configs launch tireid_jax requirements.txt \
    requirements-gcs.txt &&
    queued_resources scp "$ARCHIVE" "$NAME:" "${SSH_FLAGS[@]}" --node=all --worker=all &&
    on_workers "mkdir -p tireid_jax && tar -xzf $ARCHIVE -C tireid_jax && cd tireid_jax && $(quote env \
      "SHARED=$SHARED" "MOUNT_POINT=$MOUNT_POINT" "WORKDIR=$WORKDIR" "DATA_DIR=$DATA_DIR" \
      "COPY_DATA_FROM=$COPY_DATA_FROM" bash launch/worker.sh setup)"
}

delete() { queued_resources delete "$NAME" --force --quiet; }

# Succeeds once the slices are active; new ones are set up.
have_slices() {
  if await_slices && ((unreachable < MAX_UNREACHABLE)); then return 0; fi
  if [[ $state != NONE ]]; then
    say "replacing $NAME"
    delete || return 1
  fi
  unreachable=0
  create && setup
}

# Starts training on every worker on which it is not running.
start() {
  local line status=0
  line="[ -e tireid_jax/.set_up ] || exit $NOT_SET_UP; cd tireid_jax && "
  line+=$(quote bash launch/worker.sh start "${trainer[@]}" --multihost)
  on_workers "$line" || status=$?
  if ((status == NOT_SET_UP)); then setup && on_workers "$line"; else return "$status"; fi
}

# Waits for the end of training: status 0 if every process succeeded, MISTAKE for bad input, INTERRUPTED after Ctrl-C, 1
# for any other failure.
follow() {
  : >"$scratch/seen"
  while :; do
    if worker state >"$scratch/reply" 2>"$scratch/error"; then
      if ((DRY_RUN)); then
        cat "$scratch/reply"
        return 0
      fi
      grep '^worker ' "$scratch/reply" | sort >"$scratch/states"
      if ! cmp --quiet "$scratch/states" "$scratch/seen"; then tee "$scratch/seen" <"$scratch/states"; fi
      if [[ -s $scratch/states ]] && ! grep --quiet --invert-match ' exited 0$' "$scratch/states"; then return 0; fi
      if grep --quiet " exited $MISTAKE$" "$scratch/states"; then return "$MISTAKE"; fi
      if grep --quiet " exited $INTERRUPTED$" "$scratch/states"; then return "$INTERRUPTED"; fi
      if grep --quiet --invert-match --extended-regexp ' (exited 0|running)$' "$scratch/states"; then return 1; fi
    else
      cat "$scratch/error" >&2
    fi
    sleep "$POLL_SECONDS"
    query_state
    if [[ $state != ACTIVE && $state != UNKNOWN ]]; then return 1; fi
    if [[ $state == ACTIVE ]] && ((unreachable >= MAX_UNREACHABLE)); then return 1; fi
  done
}

# Shows the ends of the logs. Succeeds if training failed before the first step, with the same failure as in the previous
# start. The failure of the first worker to fail is compared, since others may fail as a consequence of it, at any time.
is_repeated() {
  local before=$early_failure
  worker log >"$scratch/logs" || true
  cat "$scratch/logs" >&2
  early_failure=''
  if ! grep --quiet '^worker .*: has trained$' "$scratch/logs"; then
    early_failure=$(sed -n 's/^worker .*: failed before the first step at \([0-9.]*\): /\1 /p' "$scratch/logs" |
      sort --numeric-sort | head -n 1 | cut -d ' ' -f 2-)
  fi
  [[ -n $early_failure && $early_failure == "$before" ]]
}

# Starts training, again if necessary, until it is complete or MAX_TRIES starts have failed.
train() {
  local try status repeated
  trainer_command "$@"
  exec 3>&2 # the signal may arrive while standard error is redirected
  trap 'say "training continues; launch/tpu.sh run follows it again, launch/tpu.sh stop stops it" 2>&3; exit 130' INT
  for ((try = 1; try <= MAX_TRIES; try++)); do
    if ((try > 1)); then
      say "start $try of $MAX_TRIES"
      sleep "$POLL_SECONDS"
    fi
    status=0
    { have_slices && start && follow; } || status=$?
    if ((status == 0)); then return 0; fi
    # If some processes have ended, others may hang; if the slices are gone, there is nothing to stop.
    repeated=0
    if [[ $state == ACTIVE ]]; then
      if is_repeated; then repeated=1; fi
      worker stop "$GRACE_SECONDS" >&2 || true
    fi
    if ((status == MISTAKE || status == INTERRUPTED)); then return "$status"; fi
    if ((repeated)); then
      say "error: starts $((try - 1)) and $try failed before the first step with the same error: $early_failure"
      status=${early_failure%%:*}
      if [[ $status == killed ]]; then status=1; fi
      return "$status"
    fi
  done
  say "error: training is not complete after $MAX_TRIES starts"
  return 1
}

read_settings NAME PROJECT ZONE ACCELERATOR_TYPE RUNTIME_VERSION NUM_SLICES SPOT CONFIG STAGE WORKDIR DATA_DIR \
  MAX_TRIES POLL_SECONDS GRACE_SECONDS
case ${1:-} in
  create | setup | delete) "$1" ;;
  run) train "${@:2}" ;;
  log) queued_resources ssh "$NAME" "${SSH_FLAGS[@]}" --node=0 --worker=0 '--command=tail -n 50 -F tireid_jax_run/log' ;;
  stop) worker stop "$GRACE_SECONDS" ;;
  *) fail "usage: launch/tpu.sh create|setup|run|log|stop|delete" ;;
esac
