#!/bin/sh
# Make a virtual environment with the package and everything that checks it.
# Needs a Python of at least 3.10 and nothing else.
set -eu

venv=$1

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

python=
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
    if fits "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Python 3.10 or newer is needed, and none was found on PATH." >&2
    exit 1
fi

echo "Setting up $venv with $("$python" -V); this happens once."
rm -rf "$venv"
# Some systems ship Python without the parts that venv needs.
if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    rm -rf "$venv"
    if ! "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m pip install --quiet --user virtualenv ||
            "$python" -m pip install --quiet --user --break-system-packages virtualenv
    fi
    "$python" -m virtualenv --quiet "$venv"
fi
"$venv/bin/python" -m pip install --quiet --upgrade pip
"$venv/bin/python" -m pip install --quiet --editable '.[dev]'
