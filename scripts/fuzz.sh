#!/usr/bin/env bash
# Fuzzes one target with libFuzzer, from its committed corpus; what it finds beside that goes to fuzz/grown, which is
# not committed. fuzz/README.md says what the targets are.
#
#   scripts/fuzz.sh                      lists the targets
#   scripts/fuzz.sh TARGET RUNS          that many runs
#   scripts/fuzz.sh --seconds N          every target for so long, one after the other
#   scripts/fuzz.sh --same               every target for some thousand runs that hardly differ from time to time
#   scripts/fuzz.sh --minimise           replaces the committed corpora by few small inputs with most of the coverage
#
# libFuzzer's flags are written out here, so that the stable toolchain does and cargo-fuzz need not be installed;
# `cargo fuzz run TARGET` does the same.
set -euo pipefail
cd "$(dirname "$0")/.."

host="$(rustc -vV | sed -n 's/^host: //p')"

build() {
    RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
        cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --bins
}

# The longest input in bytes. Most that there is to find is found in small inputs, which are fast.
max_len() { # target
    case "$1" in
    operations) echo 320 ;;
    *) echo 2048 ;;
    esac
}

# Some seconds of one core. What these runs show is due to a change rather than to luck, as a check of changes has to be:
# the seed is given, and libFuzzer is kept from learning from comparisons, which are of addresses too. What is left to luck
# is the order of hash maps, which decides on what is new in four of the targets.
same_runs() { # target
    case "$1" in
    operations) echo 2000 ;;
    onnx_model) echo 10000 ;;
    *) echo 100000 ;;
    esac
}

targets() {
    for source in fuzz/fuzz_targets/*.rs; do basename "$source" .rs; done
}

fuzz() { # target, folder for new inputs, arguments of libFuzzer ...
    local target="$1" grown="$2"
    shift 2
    mkdir -p "$grown" "fuzz/artifacts/$target"
    "fuzz/target/$host/release/$target" -max_len="$(max_len "$target")" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "$@" "$grown" "fuzz/corpus/$target"
}

case "${1:-}" in
"")
    targets
    ;;
--seconds)
    build
    for target in $(targets); do
        printf '\n== %s\n' "$target"
        fuzz "$target" "fuzz/grown/$target" -max_total_time="${2:?seconds are missing}" -verbosity=0
    done
    ;;
--same)
    build
    scratch="$(mktemp -d)"
    trap 'rm -r "$scratch"' EXIT
    for target in $(targets); do
        printf '\n== %s\n' "$target"
        fuzz "$target" "$scratch/$target" -seed=1 -use_cmp=0 -runs="$(same_runs "$target")" -verbosity=0
    done
    ;;
--minimise)
    build
    for target in $(targets); do
        picked="$(mktemp -d)"
        unpicked="$(mktemp -d)"
        "fuzz/target/$host/release/$target" -max_len="$(max_len "$target")" -verbosity=0 -merge=1 \
            -merge_control_file="$picked.control" "$unpicked" "fuzz/corpus/$target" "fuzz/grown/$target" 2>/dev/null
        printf '%s: ' "$target"
        python3 scripts/fuzz_pick.py "$picked.control" "$picked"
        rm -r "fuzz/corpus/$target" "$unpicked" "$picked.control"
        mv "$picked" "fuzz/corpus/$target"
        chmod 755 "fuzz/corpus/$target"
    done
    ;;
*)
    build
    fuzz "$1" "fuzz/grown/$1" -runs="${2:?the number of runs is missing}"
    ;;
esac
