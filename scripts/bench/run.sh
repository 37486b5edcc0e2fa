#!/usr/bin/env bash
# Prepares what the comparison needs, once, then runs it. Arguments go to compare.py. See README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."

python="${PYTHON:-python3.11}"
mkdir -p bench-env

# An environment counts as ready when its mark is there, which is made last: an interrupted one is made again.
prepare() { # name, requirements
    local folder="bench-env/$1"
    if [[ ! -e "$folder/ready" ]]; then
        rm -rf "$folder"
        "$python" -m venv "$folder"
        # shellcheck disable=SC2086  # several arguments are meant to be split
        "$folder/bin/pip" install --quiet ${PIP_ARGS:-} -r "$2"
        touch "$folder/ready"
    fi
}

if [[ -z "${TORCH_PYTHON:-}" ]]; then
    prepare torch scripts/bench/requirements-torch.txt
    export TORCH_PYTHON="$PWD/bench-env/torch/bin/python"
fi
if [[ -z "${ORTT_PYTHON:-}" ]]; then
    prepare ortt scripts/bench/requirements-ortt.txt
    export ORTT_PYTHON="$PWD/bench-env/ortt/bin/python"
fi

for model in mlp cnn; do
    if [[ ! -e "bench-env/$model.onnx" || ! -e "bench-env/$model.npz" ]]; then
        "$TORCH_PYTHON" scripts/bench/models.py bench-env
        break
    fi
done

cargo build --release --example bench_step
exec "$TORCH_PYTHON" scripts/bench/compare.py "$@"
