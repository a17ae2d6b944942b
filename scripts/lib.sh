# What first-run.sh and test.sh share: find what this machine lacks, and install only that.
# POSIX sh. The caller sets $root, the checkout. Every need is checked by its effect (it runs, it compiles, it
# imports), never by a note that it was installed once.
# shellcheck shell=sh
: "${root:?}"
offline=no # yes: nobody is asked for anything

say() { printf 'ukperf: %s\n' "$*" >&2; }
die() { say "$@"; exit 2; }

# refuse_offline WHAT: end where something is missing and nobody may be asked for it.
refuse_offline() { [ "$offline" = no ] || die "$1, and --offline asks nobody: run this without it once."; }

# step SENTENCE COMMAND...: one line on the terminal, details in the log, whose tail is shown only when it fails.
step() {
    say "$1"
    shift
    if ! "$@" >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        die "that failed; the whole log is $log."
    fi
}

open_log() {
    log_dir=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ukperf
    mkdir -p "$log_dir" 2>/dev/null || die "cannot write to $log_dir: set HOME or XDG_CACHE_HOME to a folder of yours."
    log=$log_dir/setup.log
    : >"$log" || die "cannot write $log."
}

# Two setups in one checkout take turns. The lock is on a folder that is there anyway, so nothing is left behind.
lock() {
    command -v flock >/dev/null 2>&1 || return 0
    exec 9<"$root/scripts"
    flock -n 9 || { say "another setup is running in this checkout; waiting for it"; flock 9; }
}
unlock() { exec 9<&-; }

# ---- what is there ----------------------------------------------------------------------------------------------

venv_works() { "$root/.venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Sets $python: a .venv that works has the say, so that re-runs are stable; else the first that is new enough.
find_python() {
    python=$root/.venv/bin/python
    ! venv_works || return 0
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null 2>&1 &&
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            return 0
        fi
    done
    die "ukperf needs Python 3.11 or newer, and no python3 on the PATH is: install one and run this again."
}

has_libvirt_python() { "$root/.venv/bin/python" -c 'import libvirt' >/dev/null 2>&1; }

# install_system_packages [PURPOSE...]: what ukperf itself needs of the system, and what these purposes need. Which
# packages these are, how it is seen that they are missing, and how apt is asked stands in the one file that
# `ukperf setup` has it from; it runs by itself, since there may be no virtual environment yet.
install_system_packages() {
    venv_works || set -- venv "$@"
    has_libvirt_python || set -- compile "$@" # pip compiles it
    [ "$offline" = no ] || set -- --offline "$@"
    "$python" -I "$root/ukperf/doctor/system.py" --log "$log" "$@" run || exit $?
}

# ---- the virtual environment -------------------------------------------------------------------------------------

# packages_are_there EXTRA: every package that pyproject.toml asks for is installed, the compiled one loads, and
# `ukperf` is this checkout's and starts.
packages_are_there() {
    [ "$(cat "$root/.venv/ukperf-pyproject" 2>/dev/null)" = "$(sha256sum <"$root/pyproject.toml")" ] || return 1
    (cd / && "$root/.venv/bin/python" - "$root" "$1") >>"$log" 2>&1 <<'PYTHON' || return 1
import importlib.metadata, pathlib, sys, tomllib
from packaging.requirements import Requirement
root, extra = pathlib.Path(sys.argv[1]), sys.argv[2]
project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
for need in project["dependencies"] + (project["optional-dependencies"][extra] if extra else []):
    asked = Requirement(need)
    if asked.marker is None or asked.marker.evaluate():
        importlib.metadata.version(asked.name)
import libvirt, numpy, typer, ukperf
sys.exit(not pathlib.Path(ukperf.__file__).is_relative_to(root))
PYTHON
    "$root/.venv/bin/ukperf" --help >>"$log" 2>&1
}

pip_install() { "$root/.venv/bin/python" -m pip install --disable-pip-version-check --no-input -e "$root${1:+[$1]}"; }

ensure_venv() {
    venv_works || step "making .venv with $("$python" --version)" "$python" -m venv --clear "$root/.venv"
    packages_are_there "$1" && return 0
    refuse_offline "Python packages are missing in .venv"
    rm -f "$root/.venv/ukperf-pyproject"
    if has_libvirt_python; then how=pip; else how="pip; libvirt's is compiled, which takes a minute"; fi
    step "installing ukperf and its Python packages into .venv ($how)" pip_install "$1"
    sha256sum <"$root/pyproject.toml" >"$root/.venv/ukperf-pyproject"
    packages_are_there "$1" || { tail -n 25 "$log" >&2; die "pip is content, yet ukperf does not start; the log is $log."; }
}

# setup_guests [OPTION...]: the rest is what `ukperf setup` does for an installed ukperf. It says itself what it cannot do.
setup_guests() {
    [ "$offline" = no ] || set -- --offline "$@"
    status=0
    "$root/.venv/bin/ukperf" setup --yes --quiet "$@" >&2 || status=$?
    [ $status = 0 ] || [ $status = 70 ] || exit $status # 70: a fault of ours is no reason to measure nothing
}

# setup EXTRA [OPTION...]: make this machine able to run ukperf, with the optional packages EXTRA of pyproject.toml ('':
# none); OPTIONs go to `ukperf setup`.
setup() {
    extra=$1
    shift
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || die "ukperf runs on x86-64 Linux, and this is $(uname -s) on $(uname -m)."
    lock
    open_log
    find_python
    if [ "$extra" = dev ]; then install_system_packages tests; else install_system_packages; fi
    ensure_venv "$extra"
    setup_guests "$@"
    unlock
}
