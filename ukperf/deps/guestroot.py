"""A program's tree as a guest would see it, on this machine: its files, which it may write over, and of the files that
kernels make only those that the guest's kernel makes.

In name spaces of its own, by root or by any user where those are allowed, so that nothing of it is left behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.text import clean

_TIMEOUT_S = 20

# /.ukperf in the tree is /proc, to which files lead that differ for each process.
# $1: an empty folder; $2: the tree; $3: the program's path in it; then special files until --, folders with a slash.
_SETUP = r"""
set -e
proc() { if [ ! -d all/.ukperf ]; then mkdir all/.ukperf; mount --rbind /proc all/.ukperf; fi; }
mount -t tmpfs -o mode=755 ukperf "$1"
cd "$1"
mkdir upper work lower all
mount --bind "$2" lower
program=$3
shift 3
cd .
if ! mount -t overlay ukperf -o "lowerdir=lower,upperdir=upper,workdir=work$UKPERF_OVERLAY" all 2>/dev/null
then cp -a lower/. all; fi
for folder in dev proc sys tmp; do mkdir -p "all/$folder"; done
while [ "$1" != -- ]
do
  case $1 in
  */) if [ -d "$1" ]; then mkdir -p "all$1"; mount --rbind "$1" "all$1"; fi ;;
  *)
    if [ ! -e "all$1" ] && [ ! -L "all$1" ]
    then
      mkdir -p "all${1%/*}"
      case $1 in
      /proc/self/exe) ln -s "$program" "all$1" ;;
      /proc/*)
        proc
        ln -s "/.ukperf/${1#/proc/}" "all$1" ;;
      *)
        if [ -L "$1" ]
        then
          to=$(readlink "$1")
          case $to in /proc/*) proc; to=/.ukperf/${to#/proc/} ;; esac
          ln -s "$to" "all$1"
        elif [ -d "$1" ]; then mkdir "all$1"; mount --bind "$1" "all$1"
        elif [ -e "$1" ]; then : >"all$1"; mount --bind "$1" "all$1"; fi ;;
      esac
    fi ;;
  esac
  shift
done
shift
exec "$@"
"""


def before(scratch: Path, tree: Path, program: str, special: Sequence[str]) -> tuple[str, ...]:
    """The words that go before strace: they make `root(scratch)` in name spaces of their own. Raises UkperfError where
    those cannot be had. special: paths, those of folders with a slash at the end."""
    unshare = _unshare()
    setup = ("/bin/sh", "-c", _SETUP, "sh", str(scratch), str(tree), program, *special, "--")
    return (*unshare, "/usr/bin/env", f"UKPERF_OVERLAY={'' if os.geteuid() == 0 else ',userxattr'}", *setup)


def root(scratch: Path) -> Path:
    """Where the guest's files are, seen by what `before` executes."""
    return scratch / "all"


@cache
def _unshare() -> tuple[str, ...]:
    path = shutil.which("unshare")
    if path is None:
        raise UkperfError("A forecast needs unshare, which is not on this machine.", hint=hints.packages("util-linux"))
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    words = (path, *user, "--mount", "--propagation", "private", "--")
    try:
        done = subprocess.run(
            [*words, "mount", "-t", "tmpfs", "ukperf", "/mnt"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        said = done.stderr.strip()
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    if said:
        raise UkperfError(
            f"A forecast needs root, or name spaces that any user may make: {clean(said, 200)}.",
            hint="Run it as root, or: sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000",
        )
    return words
