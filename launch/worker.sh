#!/usr/bin/env bash
# On a TPU worker, called by tpu.sh over ssh: sets the worker up; starts, stops and reports the training there.
#
# Training is no child of the ssh session: gcloud opens at most 64 sessions at a time and opens one anew when its
# connection drops, and processes that await each other must neither be held back nor started twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=failure.sh
source launch/failure.sh

RUN=$HOME/tireid_jax_run  # log, process group and exit status of the last start, and a lock that is held while it runs
mkdir -p "$RUN"

is_running() { ! flock --nonblock "$RUN/lock" true; }

report() { echo "worker $(hostname): $*"; }

setup() {
  if is_running; then
    report "training runs; left as it is"
    return
  fi
  mount_shared
  bash launch/environment.sh tpu
  # The trainer itself writes to a bucket; nothing has to be mounted for that.
  if [[ $WORKDIR != gs://* ]]; then make_folder "$WORKDIR"; fi
  copy_data "$COPY_DATA_FROM" "$DATA_DIR"
  touch .set_up
}

copy_data() { # FROM TO: makes the folder and copies into it, unless FROM is empty
  make_folder "$2"
  case $1 in
    '') ;;
    gs://*) gcloud storage rsync --recursive "$1" "$2" ;;
    *) rsync --archive "$1/" "$2/" ;;
  esac
}

mount_shared() {
  if [[ -z $SHARED ]] || mountpoint --quiet "$MOUNT_POINT"; then return; fi
  sudo mkdir -p "$MOUNT_POINT"
  if [[ $SHARED == gs://* ]]; then
    install_gcsfuse
    sudo chown "$(id -u)" "$MOUNT_POINT"
    gcsfuse --implicit-dirs "${SHARED#gs://}" "$MOUNT_POINT"
  else
    install_package nfs-common
    sudo mount -t nfs -o hard "$SHARED" "$MOUNT_POINT"
  fi
}

install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc url=https://packages.cloud.google.com/apt
  if command -v gcsfuse >/dev/null; then return; fi
  curl --fail --silent --show-error "$url/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] $url gcsfuse-$(lsb_release -c -s) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  install_package gcsfuse
}

# A new machine's own updates hold apt's lock for some minutes.
install_package() {
  sudo apt-get -o DPkg::Lock::Timeout=600 --quiet=2 update
  sudo apt-get -o DPkg::Lock::Timeout=600 --quiet=2 --yes install "$1"
}

# A fresh NFS export belongs to root.
make_folder() {
  mkdir -p "$1" 2>/dev/null || sudo install --directory --owner="$(id -u)" "$1"
}

start() {
  if is_running; then
    report "training runs already"
    return
  fi
  rm -f "$RUN/status"
  setsid bash launch/worker.sh keep_status "$@" </dev/null >"$RUN/log" 2>&1 &
  # So that whoever asks next finds it running.
  until is_running || [[ -e $RUN/status ]]; do sleep 0.1; done
  report "training started"
}

# Runs a command as `start` needs it: the lock is held until its last process ends, and its exit status is kept.
keep_status() {
  local status=0
  exec 9>"$RUN/lock"
  flock --timeout=10 9 # `is_running` holds it for a moment
  echo $$ >"$RUN/group"
  trap '' TERM
  (
    trap - TERM
    exec "$@"
  ) || status=$?
  echo "$status" >"$RUN/status.part"
  mv "$RUN/status.part" "$RUN/status"
}

state() {
  if [[ -e $RUN/status ]]; then # though a process that it left behind may hold the lock
    report "exited $(<"$RUN/status")"
  elif is_running; then
    report "running"
  else
    report "gone"
  fi
}

stop() {
  local seconds=$1
  if ! is_running; then return; fi
  kill -TERM -- "-$(<"$RUN/group")"
  while is_running && ((seconds-- > 0)); do sleep 1; done
  if is_running; then kill -KILL -- "-$(<"$RUN/group")"; fi
  report "training stopped"
}

# Shows the end of the log. Then, for tpu.sh, whether training got to a step, or when and how it failed before one.
log() {
  local status=killed ended=$RUN/log failed
  report "$RUN/log ends with"
  tail -n 20 "$RUN/log"
  if [[ -e $RUN/status ]]; then
    status=$(<"$RUN/status") ended=$RUN/status
  elif is_running; then
    status=
  fi
  if has_trained "$RUN/log"; then
    report "has trained"
  elif [[ -n $status && $status != 0 ]]; then
    failed=$(early_failure "$status" "$RUN/log")
    [[ -z $failed ]] || report "failed before the first step at $(date --reference="$ended" +%s.%N): $failed"
  fi
}

"$@"
