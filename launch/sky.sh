#!/usr/bin/env bash
# Trains with SkyPilot (pip install "skypilot[gcp]", sky check), which provisions machines, sets them up according to
# sky.yaml, replaces preempted ones and releases them at the end.
#
#   launch/sky.sh [FLAGS]   FLAGS are additional flags of the trainer
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read_settings NAME CONFIG STAGE WORKDIR DATA_DIR PORT MOUNT_POINT SKY_ACCELERATORS SKY_NODES SPOT
if [[ $WORKDIR == gs://* && -z $SHARED ]]; then
  [[ $COPY_DATA_FROM == gs://* ]] ||
    fail "COPY_DATA_FROM is ${COPY_DATA_FROM:-empty}; set it to gs://BUCKET/FOLDER of data, or SHARED to a bucket to mount"
  task=launch/sky_bucket.yaml
  storage=(--env "COPY_DATA_FROM=$COPY_DATA_FROM" --env "DATA_DIR=$DATA_DIR")
else
  [[ $SHARED == *://* ]] || fail "SHARED is ${SHARED:-empty}; SkyPilot mounts buckets: set it to gs://BUCKET"
  task=launch/sky.yaml
  storage=(--env "SHARED=$SHARED" --env "MOUNT_POINT=$MOUNT_POINT")
fi
trainer_command "$@"
hardware=cuda12
if [[ $SKY_ACCELERATORS == tpu-* ]]; then hardware=tpu; fi
spot=--no-use-spot
if ((SPOT)); then spot=--use-spot; fi
run sky jobs launch --yes --detach-run "--name=$NAME" "--gpus=$SKY_ACCELERATORS" "--num-nodes=$SKY_NODES" "$spot" \
  --env "HARDWARE=$hardware" --env "COMMAND=$(quote "${trainer[@]}")" --env "PORT=$PORT" \
  "${storage[@]}" "${SKY_FLAGS[@]}" "$task"
