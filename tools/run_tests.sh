#!/usr/bin/env bash
# All tests but the long ones, in two rounds. Most wait for others more than they work: several of them run at a time.
# Those marked "alone" judge how long something takes, or take the whole machine: they follow, one after the other.
# Arguments: more options for both rounds. Exit status: pytest's; the first round's, if both failed.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly NOTHING_RUN=5 # pytest's "no tests collected"

# Translating the tests takes 9 s of a processor, and each process of a round needs all of them: done once, and kept; in
# a place of our own, also where the environment says that nothing is. The programs that tests start gain by it, too.
export PYTHONPYCACHEPREFIX="$PWD/.pytest_cache/bytecode"
export PYTHONDONTWRITEBYTECODE=
if ! find "$PYTHONPYCACHEPREFIX" -name 'conftest.*-pytest-*' 2>/dev/null | grep -q .; then
    # What is wrong with it is said by the rounds below.
    .venv/bin/python -m pytest --collect-only -qq >/dev/null 2>&1
fi

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
