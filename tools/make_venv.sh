#!/usr/bin/env bash
# Makes .venv with the packages of constraints.txt (versions and hashes) and the project itself, editable.
# Does nothing when .venv was made from the same interpreter, lock file, pyproject.toml and place.
# Where packages come from is the business of the machine's own pip configuration.
# Argument: the interpreter, or nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(tools/find_python.sh "${1:-}")
key=$({
    pwd
    "$python" -c 'import sys; print(sys.executable, sys.version)'
    cat constraints.txt pyproject.toml
} | sha256sum)

# The key is written last: a half-made .venv is made again.
if [ -x .venv/bin/python ] && [ "$(cat .venv/key 2>/dev/null)" = "$key" ]; then
    exit 0
fi
echo "making .venv with $python ($("$python" -c 'import platform; print(platform.python_version())'))"
rm -rf .venv
"$python" -m venv .venv
# The lock file is complete, so nothing is left to resolve: pip before 23.3 (Python 3.11 brings it) does not see that
# "coverage[toml]" is pinned as "coverage", takes the newest one and refuses it. That it is complete is checked below.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement constraints.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
if ! complaint=$(.venv/bin/python -m pip check --disable-pip-version-check); then
    echo "$complaint" >&2
    exit 1
fi
echo "$key" >.venv/key
