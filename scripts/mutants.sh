#!/usr/bin/env bash
# Switches on one defect of trainer-runtime after the other, and says which tests notice it. The list of defects is
# runtime/src/mutant.rs; without arguments all of them are tried and docs/mutants.md is written anew.
#
#     scripts/mutants.sh                            # all, about 10 minutes
#     scripts/mutants.sh journal-sync segment-salt  # only these, and nothing is written
#
# Exits with 1 if a defect goes unnoticed.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUST_BACKTRACE=0 TRAINER_MUTANT=none

# One build for all: the defect is chosen when a test runs.
mapfile -t binaries < <(
    cargo test --release --package trainer-runtime --features mutants --lib --tests --no-run --message-format=json |
        python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("profile", {}).get("test") and message.get("executable"):
        print(message["executable"])'
)
mapfile -t listed < <(sed -n 's/^    ("\([a-z-]*\)", "\(.*\)"),$/\1\t\2/p' runtime/src/mutant.rs)

# Files of the tests in memory where that is possible: thousands of syncs of a real disk would take most of the time.
scratch=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

# The names of the tests that fail with this defect, one a line.
noticed_by() {
    local binary output status
    for binary in "${binaries[@]}"; do
        status=0
        # From the folder of the package, as cargo runs them. A test that waits for ever has noticed, too.
        output=$(cd runtime && TRAINER_MUTANT=$1 timeout --signal=KILL 120 "$binary" 2>&1) || status=$?
        sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' <<<"$output"
        case $status in
            0 | 101) ;;
            137) sed -n 's/^test \(.*\) has been running for over .*/\1 (does not end)/p' <<<"$output" | head -1 ;;
            *) echo "$(basename "$binary" | sed 's/-[0-9a-f]*$//') (ended with $status)" ;;
        esac
    done
}

if failing=$(noticed_by none) && [ -n "$failing" ]; then
    printf 'without any defect these fail:\n%s\n' "$failing" >&2
    exit 1
fi

table=$scratch/table
touch "$table"
unnoticed=0
for row in "${listed[@]}"; do
    name=${row%%$'\t'*} takes_away=${row#*$'\t'}
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    mapfile -t tests < <(noticed_by "$name")
    if [ ${#tests[@]} -eq 0 ]; then
        unnoticed=$((unnoticed + 1))
        cell='**nothing**'
    else
        # The first three of each kind are enough to know where to look.
        cell=$(printf '`%s`<br>' "${tests[@]:0:3}")
        cell=${cell%<br>}
        [ ${#tests[@]} -le 3 ] || cell="$cell<br>and $((${#tests[@]} - 3)) more"
    fi
    printf '%-34s noticed by %d: %s\n' "$name" "${#tests[@]}" "${tests[*]:0:3}"
    printf '| `%s` | %s | %s |\n' "$name" "$takes_away" "$cell" >>"$table"
done

if [ $# -eq 0 ]; then
    {
        printf '# Which test notices which defect\n\n'
        printf 'Written by `scripts/mutants.sh`, which builds `trainer-runtime` with the feature `mutants`, switches on one defect\n'
        printf 'after the other and runs the tests of the crate, the campaigns against storage among them in the size in which\n'
        printf '`cargo test` runs them. A program built without the feature has none of this. A defect that is noticed by nothing\n'
        printf 'makes the script fail.\n\n'
        printf '| defect | what it takes away | noticed by |\n|---|---|---|\n'
        cat "$table"
    } >docs/mutants.md
fi
[ "$unnoticed" -eq 0 ] || { echo "$unnoticed defects went unnoticed" >&2; exit 1; }
