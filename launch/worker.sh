#!/usr/bin/env bash
# Runs on a TPU worker, called by tpu.sh over ssh: sets the worker up; starts, stops and reports on its training process.
#
# Training is detached from the ssh session: gcloud opens at most 64 sessions at a time and reopens one whose connection
# drops, but the training processes wait for each other, so none of them may be delayed or started twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=failure.sh
source launch/failure.sh

RUN=$HOME/tireid_jax_run  # log, process group and exit status of the last start, and a lock held while it runs
mkdir -p "$RUN"

is_running() { ! flock --nonblock "$RUN/lock" true; }

report() { echo "worker $(hostname): $*"; }

setup() {
  if is_running; then
    report "training is running; nothing is changed"
    return
  fi
  mount_shared
  bash launch/environment.sh tpu
  # The trainer writes to a bucket directly, without a folder or mount.
  if [[ $WORKDIR != gs://* ]]; then make_folder "$WORKDIR"; fi
  copy_data "$COPY_DATA_FROM" "$DATA_DIR"
  touch .set_up
}

copy_data() { # FROM TO: creates the folder TO and, unless FROM is empty, copies into it
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

# Waits, since the automatic updates of a new machine hold apt's lock for some minutes.
install_package() {
  sudo apt-get -o DPkg::Lock::Timeout=600 --quiet=2 update
  sudo apt-get -o DPkg::Lock::Timeout=600 --quiet=2 --yes install "$1"
}

# A new NFS export is owned by root.
make_folder() {
  mkdir -p "$1" 2>/dev/null || sudo install --directory --owner="$(id -u)" "$1"
}

start() {
  if is_running; then
    report "training is already running"
    return
  fi
  rm -f "$RUN/status"
  setsid bash launch/worker.sh keep_status "$@" </dev/null >"$RUN/log" 2>&1 &
  # Wait, so that the next query finds it running.
  until is_running || [[ -e $RUN/status ]]; do sleep 0.1; done
  report "training started"
}

# Runs a command for `start`: holds the lock until its last process ends, and stores its exit status.
keep_status() {
  local status=0
  exec 9>"$RUN/lock"
  flock --timeout=10 9 # `is_running` may hold it for a moment
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
  if [[ -e $RUN/status ]]; then # checked first, since a leftover child process may still hold the lock
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

# Shows the end of the log. For tpu.sh, also reports whether a step was completed, or else when and how training failed.
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
