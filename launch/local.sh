#!/usr/bin/env bash
# Trains in N processes on this machine, as on N machines. Since one process can use all accelerators of a machine, this
# is for trying out multi-process training: it runs on the CPU unless JAX_PLATFORMS is set.
#
#   launch/local.sh N [FLAGS]   FLAGS are additional flags of the trainer
#
# If a process fails, the others are stopped, and the script exits with the status of the first to fail (any of those that
# fail within 0.1 s). On Ctrl-C or SIGTERM all processes save and stop; a second signal kills them.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

num_processes=${1:-}
[[ $num_processes =~ ^[1-9][0-9]*$ ]] || fail "usage: launch/local.sh N [FLAGS]"
read_settings CONFIG STAGE WORKDIR DATA_DIR GRACE_SECONDS PORT
trainer_command "${@:2}"
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}

process_command() { # I: sets `command` to the command line of process I
  command=("${trainer[@]}" --multihost "--coordinator=127.0.0.1:$PORT" "--num_processes=$num_processes" "--process_id=$1")
}

if ((DRY_RUN)); then
  for ((i = 0; i < num_processes; i++)); do
    process_command "$i"
    echo "$(quote env "JAX_PLATFORMS=$JAX_PLATFORMS" "${command[@]}") &"
  done
  echo wait
  exit
fi

stop() { # SIGNAL: sends it to every remaining process
  if ((${#left[@]})); then kill "-$1" "${!left[@]}" 2>/dev/null || true; fi
}

# shellcheck disable=SC2329  # called by the traps
interrupt() { # STATUS
  if ((interrupted)); then stop KILL; fi
  interrupted=$1
  stop TERM
}

declare -A left=() # by process id
interrupted=0
failed=0
trap 'interrupt 130' INT
trap 'interrupt 143' TERM
trap 'stop KILL' EXIT
for ((i = 0; i < num_processes; i++)); do
  process_command "$i"
  "${command[@]}" </dev/null &
  left[$!]=$i
done
# Polls, since `wait -n` of bash 5.2 forgets processes that end just before a trap runs, and the loop would never end.
while ((${#left[@]} && !failed)); do
  sleep 0.1 || true # also ended by Ctrl-C or SIGTERM to the whole process group
  for id in "${!left[@]}"; do
    if kill -0 "$id" 2>/dev/null; then continue; fi
    wait "$id" || failed=$?
    if ((failed)); then say "process ${left[$id]} exited with status $failed"; fi
    unset "left[$id]"
    if ((failed)); then break; fi
  done
done
stop TERM
deadline=$((SECONDS + GRACE_SECONDS))
for id in "${!left[@]}"; do
  while kill -0 "$id" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1 || true; done
done
stop KILL
wait
if ((failed && interrupted)); then exit "$interrupted"; fi
exit "$failed"
