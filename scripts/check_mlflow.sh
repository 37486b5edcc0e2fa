#!/usr/bin/env bash
# A run against the real MLflow server: interrupted, resumed, and read back through its REST API. Needs Python with pip.
#
#   scripts/check_mlflow.sh [VENV]
#
# Builds trainer, installs `mlflow` into VENV (a temporary one if none is given; give one to keep the packages), starts
# `mlflow server` on loopback with sqlite and a folder of artifacts, and checks: one run whatever happened, each value once,
# parameters, the model, and a truthful status after a stop, a kill and the end. The server is down for a part of the run.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
server=
stop_server() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    server=
}
trap 'stop_server; rm -rf "$folder"' EXIT

cargo build --quiet --package trainer
venv=${1:-$folder/venv}
[ -x "$venv/bin/mlflow" ] || { python3 -m venv "$venv"; "$venv/bin/pip" install --quiet mlflow; }
"$venv/bin/mlflow" --version

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
uri=http://127.0.0.1:$port
start_server() {
    "$venv/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 --serve-artifacts \
        --backend-store-uri "sqlite:///$folder/mlflow.db" --artifacts-destination "$folder/artifacts" \
        >>"$folder/server.log" 2>&1 &
    server=$!
    for _ in $(seq 240); do
        if python3 -c "import urllib.request; urllib.request.urlopen('$uri/health', timeout=1)" 2>/dev/null; then return; fi
        sleep 0.5
    done
    cat "$folder/server.log"
    echo "the server did not start" >&2
    exit 1
}

run=(target/debug/trainer run --work-dir "$folder/exp" --set model.builtin=mlp --set device=cpu --threads 1 --set spin=false
    --set mlflow.uri="$uri" --set mlflow.experiment="two words" --set schedule.kind=constant)
check() { python3 scripts/check_mlflow.py "$uri" "$folder/exp" "$@"; }

start_server
# Stopped by a signal: KILLED, with all that was done.
timeout --signal=TERM 15 "${run[@]}" --epochs 20000 >/dev/null 2>&1 || true
check KILLED
# Killed: the server can not know, and the run goes on under the same id.
timeout --signal=KILL 10 "${run[@]}" --epochs 20000 >/dev/null 2>&1 || true
# The server is down: training goes on, and ends.
stop_server
epochs=$(($(wc -l <"$folder/exp/history.csv") + 200))
"${run[@]}" --epochs "$epochs" | tail -2
start_server
"${run[@]}" --epochs "$epochs"
check FINISHED
# What was noted of it is lost: the run is found by its tag, and has no value twice.
rm "$folder/exp/mlflow.json"
"${run[@]}" --epochs "$epochs"
check FINISHED
echo "check_mlflow: passed"
