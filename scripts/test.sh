#!/bin/sh
# Run the whole test suite, unit tests and those that boot real guests, after installing what is missing for it.
# Run it again at any time. Arguments go to pytest, e.g. `scripts/test.sh tests/unit` for the quick half.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
setup dev
cd "$root"
exec .venv/bin/python -m pytest "$@"
