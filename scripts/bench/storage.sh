#!/usr/bin/env bash
# What the journal and the checkpoints cost, each against a limit measured in the same run; then what a checkpoint every
# 10 steps costs the training loop. docs/benchmarks.md has the results. STORAGE_BENCH_DIR names another file system for
# the first part. Arguments go to loop_cost.py.
#
# The second part needs bench-env/cnn.onnx and bench-env/cnn.npz, which scripts/bench/run.sh makes.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo bench --manifest-path runtime/benches/Cargo.toml
if [[ ! -e bench-env/cnn.onnx || ! -e bench-env/cnn.npz ]]; then
    echo "bench-env/cnn.onnx or bench-env/cnn.npz is missing: run scripts/bench/run.sh --models cnn first" >&2
    exit 1
fi
cargo build --release
exec python3 scripts/bench/loop_cost.py "$@"
