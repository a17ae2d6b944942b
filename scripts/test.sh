#!/bin/sh
# Run the whole test suite, unit tests and those that boot real guests, after installing what is missing for it.
# Run it again at any time. Arguments go to pytest, e.g. `scripts/test.sh tests/unit` for the quick half. Three workers
# share the tests of two cores, since a fifth of the time is waiting (tests/testorder.py); `-n 0` has them all in one process, where a debugger can be used.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
setup dev --guest linux
cd "$root"
# Whatever tests put into temporary folders is gone when they end. In /tmp, since paths of sockets must be short.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
status=0
.venv/bin/python -m pytest -n 3 --durations=10 "$@" || status=$?
exit "$status"
