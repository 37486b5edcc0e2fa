#!/usr/bin/env bash
# Kills the real program thousands of times, takes each run up again, and compares what it comes to with an undisturbed run.
#
#   scripts/faults/run.sh [syscalls|recovery|random|steps|errors|modes|all]...     all, if nothing is named
#
# FAULTS_JOBS    runs at the same time (2)
# FAULTS_KILLS   kills of `random` (1000)
# FAULTS_SEED    first seed of `random` (1)
# FAULTS_ONLY    only trials whose name contains this: how a failure is repeated
#
# Of a failure, the folder before each further process is kept in target/faults/. Needs Linux and the right to trace one's
# own processes; no other program.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ORT_DISABLE_TELEMETRY=1

campaigns=("$@")
if [ ${#campaigns[@]} -eq 0 ] || [ "${campaigns[0]}" = all ]; then
    campaigns=(syscalls recovery random steps errors modes)
fi

cargo build --release --quiet
failed=()
for campaign in "${campaigns[@]}"; do
    case $campaign in
        syscalls | recovery | random | steps | errors | modes) ;;
        *) echo "unknown campaign: $campaign" >&2; exit 2 ;;
    esac
    case $campaign in
        modes) tests=(modes_killed modes_failing) ;;
        *) tests=("$campaign") ;;
    esac
    for test in "${tests[@]}"; do
        cargo test --release --quiet --test it -- --ignored --nocapture --exact \
            "kills::campaign::${campaign/recovery/syscalls}::$test" || failed+=("$test")
    done
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
