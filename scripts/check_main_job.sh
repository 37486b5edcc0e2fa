#!/usr/bin/env bash
# Runs the main job as README.md says and checks what it shows: accuracy, the time it took, that the same command again has
# nothing to do, and that the Python package onnxruntime gets the reported accuracy from the exported model.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cargo build --release --quiet
cargo run --release --quiet -- setup
started=$(date +%s)
cargo run --release --quiet -- run --work-dir "$folder/exp" | tee "$folder/first"
seconds=$(($(date +%s) - started))
accuracy=$(sed -n 's/.*val_accuracy \([0-9.]*\).*/\1/p' "$folder/first")
awk -v accuracy="$accuracy" 'BEGIN { exit !(accuracy >= 0.98) }' || { echo "validation accuracy $accuracy, expected at least 0.98" >&2; exit 1; }
echo "validation accuracy $accuracy in $seconds s"

cargo run --release --quiet -- run --work-dir "$folder/exp" | grep -q 'nothing to do' || { echo "the second run did something" >&2; exit 1; }

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.31.1 numpy
"$folder/venv/bin/python" scripts/check_export.py "$folder/exp/model.onnx" "$accuracy"
