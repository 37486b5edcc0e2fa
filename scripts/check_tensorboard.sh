#!/usr/bin/env bash
# Kills a run that keeps an event file, takes it up, and reads the file with the Python package tensorboard: each step once, and
# the values of the journal.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cargo build --release --quiet
trainer=$PWD/target/release/trainer
run=(run --quiet --work-dir "$folder/exp" --epochs 40 --threads 1 --set device=cpu --set report.tensorboard=true)

# Killed in the middle of training, as far as one can tell by the journal.
"$trainer" "${run[@]}" & pid=$!
until [ "$("$trainer" history "$folder/exp" --steps --csv 2>/dev/null | wc -l)" -gt 100 ]; do
    kill -0 "$pid" || { echo "the run was over before it was killed" >&2; exit 1; }
done
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
"$trainer" "${run[@]}" > /dev/null
"$trainer" history "$folder/exp" | grep -q 'resumed at step' || { echo "the run was not interrupted" >&2; exit 1; }

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorboard==2.21.0
"$folder/venv/bin/python" scripts/check_tensorboard.py "$trainer" "$folder/exp"
