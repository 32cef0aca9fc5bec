#!/usr/bin/env bash
# All tests but the long ones, in two rounds. Most wait for others more than they work: several of them run at a time.
# Those marked "alone" judge how long something takes, or take the whole machine: they follow, one after the other.
# Arguments: more options for both rounds. Exit status: pytest's; the first round's, if both failed.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly NOTHING_RUN=5 # pytest's "no tests collected"

.venv/bin/python -m pytest -m "not long and not alone" -n auto --dist worksteal "$@"
first=$?
# 1: tests failed. Everything above says that the run itself came to nothing, and so would the other one.
if [ "$first" -gt 1 ] && [ "$first" -ne "$NOTHING_RUN" ]; then
    exit "$first"
fi
# (--cov-append does nothing without --cov)
.venv/bin/python -m pytest -m "not long and alone" --cov-append "$@"
second=$?
# What was asked for may lie in one of the rounds only.
if [ "$first" -ne 0 ] && { [ "$first" -ne "$NOTHING_RUN" ] || [ "$second" -eq "$NOTHING_RUN" ]; }; then
    exit "$first"
fi
[ "$second" -eq "$NOTHING_RUN" ] || exit "$second"
