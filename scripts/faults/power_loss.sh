#!/usr/bin/env bash
# The campaigns against everything that trainer-runtime stores, in full: the power fails after every operation of a run
# and of a recovery, every operation fails in every way, every bit of a journal and of a checkpoint is flipped. All of it
# on a simulated disk; `cargo test` takes samples of the same. Says how much was tried; about 10 minutes on 2 cores.
#
#     scripts/faults/power_loss.sh [FILTER]    # power_loss, faults or damage, or a part of the name of a test
set -euo pipefail
cd "$(dirname "$0")/../.."
export STORAGE_CAMPAIGN=full RUST_BACKTRACE=0
exec cargo test --release --package trainer-runtime --test campaign -- --nocapture "$@"
