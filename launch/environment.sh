#!/usr/bin/env bash
# Creates the environment .venv of this checkout, with jax for the given hardware.
#
#   launch/environment.sh tpu|cuda12|cuda13|cpu
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_VERSION=0.13.9  # uv installs its own Python: TPU images have 3.10, which is too old
PYTHON_VERSION=3.12  # the oldest that the newest jax supports; an existing .venv keeps its version

hardware=${1:-}
mapfile -t jax < <(grep '^jax==' requirements.txt)  # one line per range of Python versions; pip picks the matching one
case $hardware in
  tpu | cuda12 | cuda13) jax=("${jax[@]/#jax/jax[$hardware]}") ;;
  cpu) ;;
  *)
    echo "error: usage: launch/environment.sh tpu|cuda12|cuda13|cpu" >&2
    exit 2
    ;;
esac
export PATH=$HOME/.local/bin:$PATH
command -v uv >/dev/null || python3 -m pip install --quiet --user "uv==$UV_VERSION"
[[ -x .venv/bin/python ]] || uv venv --quiet --python "$PYTHON_VERSION" .venv
uv pip install --quiet --python .venv/bin/python -r requirements.txt -r requirements-gcs.txt "${jax[@]}"
