#!/usr/bin/env bash
# Submits training to SLURM, on NODES machines with one process per GPU.
#
#   launch/environment.sh cuda12   once, on a file system that the nodes share
#   launch/slurm.sh [FLAGS]        FLAGS are additional flags of the trainer
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read_settings NAME NODES GPUS_PER_NODE CPUS_PER_GPU TIME CONFIG STAGE WORKDIR DATA_DIR MAX_TRIES GRACE_SECONDS
trainer_command "$@"
# Every process sees all GPUs of its node and uses the one with its local rank. With --gpus-per-task it would see only one
# and fail to find the others. SLURM sends SIGTERM before the time limit, on which the processes save.
run sbatch "--job-name=$NAME" "--nodes=$NODES" "--ntasks-per-node=$GPUS_PER_NODE" "--gpus-per-node=$GPUS_PER_NODE" \
  "--cpus-per-task=$CPUS_PER_GPU" "--time=$TIME" "--signal=TERM@$GRACE_SECONDS" --requeue --open-mode=append \
  "${SBATCH_FLAGS[@]}" launch/slurm.sbatch "$MAX_TRIES" "$GRACE_SECONDS" "${trainer[@]}" --multihost
