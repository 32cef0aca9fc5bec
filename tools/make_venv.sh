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
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement constraints.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "$key" >.venv/key
