#!/usr/bin/env bash
# Prints the path of the Python to build .venv with: the one named by the first argument, or the first that will do.
# It must be 3.11 or newer and have venv and ensurepip (Debian ships these two apart, in python3-venv).
set -u

# A version manager's shim may stand in PATH and answer only "no such version", so each candidate is run, not just found.
usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 </dev/null
}

wanted=${1:-}
candidates=(python3.13 python3.12 python3.11 python3)
[ -z "$wanted" ] || candidates=("$wanted")
for candidate in "${candidates[@]}"; do
    if command -v "$candidate" >/dev/null 2>&1 && usable "$candidate"; then
        exec "$candidate" -c 'import sys; print(sys.executable)' </dev/null
    fi
done

if [ -n "$wanted" ]; then
    echo "error: PYTHON=$wanted is not a Python 3.11 or newer with its venv and ensurepip modules" >&2
else
    echo "error: no Python 3.11 or newer with its venv and ensurepip modules was found" >&2
fi
echo "hint: on Debian 'apt-get install python3 python3-venv', or name another one: make PYTHON=/path/to/python3.12 ..." >&2
exit 1
