#!/usr/bin/env bash
# Submits training to SLURM: NODES machines, a process for each of their GPUs.
#
#   launch/environment.sh cuda12   once, on a file system that the nodes share
#   launch/slurm.sh [FLAGS]        FLAGS are more flags of the trainer
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read_settings NAME NODES GPUS_PER_NODE CPUS_PER_GPU TIME CONFIG STAGE WORKDIR DATA_DIR MAX_TRIES GRACE_SECONDS
trainer_command "$@"
# Every process sees all GPUs of its node and takes the one of its own number; with --gpus-per-task it would see one, and
# look for the others. Before the time is over, SLURM sends SIGTERM, at which the processes save.
run sbatch "--job-name=$NAME" "--nodes=$NODES" "--ntasks-per-node=$GPUS_PER_NODE" "--gpus-per-node=$GPUS_PER_NODE" \
  "--cpus-per-task=$CPUS_PER_GPU" "--time=$TIME" "--signal=TERM@$GRACE_SECONDS" --requeue --open-mode=append \
  "${SBATCH_FLAGS[@]}" launch/slurm.sbatch "$MAX_TRIES" "$GRACE_SECONDS" "${trainer[@]}" --multihost
