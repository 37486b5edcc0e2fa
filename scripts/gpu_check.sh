#!/usr/bin/env bash
# Checks the CUDA execution provider against the CPU on a machine with an NVIDIA GPU: every reference model with every
# optimizer, must give the same losses within 1e-3, twice the same bits on the same
# device, and resume after a kill. Prints step times. Exits 0 only if all of it holds.
#
#   scripts/gpu_check.sh [cuda:N]
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
target/release/trainer setup --cuda
target/release/trainer doctor
exec python3 scripts/gpu_check.py "${1:-cuda:0}"
