#!/bin/sh
# From a fresh Debian 12 or Ubuntu 24.04 (git, Python 3.11 or newer, root or sudo) to a first answer: installs what is
# missing, builds the guests and compares their boots. Run it again at any time: it then does only what is missing.
# Arguments go to `ukperf boot-time`.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
setup ''
exec "$root/.venv/bin/ukperf" boot-time "$@"
