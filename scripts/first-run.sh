#!/bin/sh
# From a fresh Debian 12, Debian 13 or Ubuntu 24.04 (git, Python 3.11 or newer, root or sudo) to a first answer: installs
# what is missing, builds the guests, fetches the unikernels' newest kernels from their projects, and compares their boots.
# Run it again at any time: it then does only what is missing. With --offline nobody is asked for anything, and what is
# not here is left out. Other arguments go to `ukperf boot-time`.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
for word in "$@"; do
    shift
    if [ "$word" = --offline ]; then offline=yes; else set -- "$@" "$word"; fi
done
setup ''
exec "$root/.venv/bin/ukperf" boot-time "$@"
