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

has_qemu() { qemu-system-x86_64 --version >/dev/null 2>&1; }

# has_driver NAME: libvirt's drivers are plug-ins of its library; without qemu's file qemu:///embed cannot be opened.
has_driver() {
    for dir in /usr/lib/*/libvirt /usr/lib64/libvirt /usr/lib/libvirt /usr/local/lib/*/libvirt /usr/local/lib*/libvirt; do
        [ ! -e "$dir/connection-driver/libvirt_driver_$1.so" ] || return 0
    done
    return 1
}

# The guests' programs are static position-independent executables, so that is what the compiler must make.
has_compiler() {
    probe=$(mktemp -d) || return 1
    printf 'int main(void) { return 0; }\n' >"$probe/probe.c"
    if gcc -O1 -static-pie -fPIE -o "$probe/probe" "$probe/probe.c" >>"$log" 2>&1; then works=0; else works=1; fi
    rm -rf "$probe"
    return $works
}

# has_program NAME: on the path, or where root's programs are.
has_program() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }
has_libvirt_headers() { pkg-config --exists libvirt >/dev/null 2>&1; }
has_python_headers() {
    "$python" -c 'import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").is_file())' >/dev/null 2>&1
}
can_make_venv() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_libvirt_python() { "$root/.venv/bin/python" -c 'import libvirt' >/dev/null 2>&1; }

# Sets $missing: Debian's (and Ubuntu's) names of the packages whose effect is not there.
find_missing() {
    missing=
    has_qemu || missing="$missing qemu-system-x86"
    has_driver qemu || missing="$missing libvirt-daemon-driver-qemu"
    has_compiler || missing="$missing gcc libc6-dev"
    has_program mke2fs || missing="$missing e2fsprogs"
    # An interpreter of the distribution gets what it lacks from the distribution; any other brings its own.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    base=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
    if ! venv_works && ! can_make_venv; then
        case $base in
            /usr/bin/*) missing="$missing python$version-venv" ;;
            *) die "$base cannot make virtual environments (no venv or ensurepip module): use a complete Python." ;;
        esac
    fi
    if ! has_libvirt_python; then # its package is compiled against libvirt's and Python's headers
        pkg-config --version >/dev/null 2>&1 || missing="$missing pkg-config"
        has_libvirt_headers || missing="$missing libvirt-dev"
        if ! has_python_headers; then
            case $base in
                /usr/bin/*) missing="$missing python$version-dev" ;;
                *) die "$base has no Python.h, which libvirt's Python package is compiled with: use a complete Python." ;;
            esac
        fi
    fi
    missing=${missing# }
}

# ---- installing what is not --------------------------------------------------------------------------------------

# as_root COMMAND...: run it as root, or fail. sudo may ask for a password on the terminal only.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
}

# Package scripts look for invoke-rc.d and deb-systemd-invoke on dpkg's path. Ours come first and start no service,
# so that installing QEMU or libvirt never leaves a daemon running.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o "DPkg::Path=$root/scripts/no-services:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
}

# Package lists of this week are good enough; older ones may name files that the mirror no longer has. The folder's
# own time says when it was filled: the files carry the mirror's times.
lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 0 -mtime -7 2>/dev/null)" ] &&
        [ -n "$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)" ]
}

apt_install() {
    if lists_are_fresh; then
        apt install --no-install-recommends "$@" && return 0
    fi
    apt update && apt install --no-install-recommends "$@"
}

install_system_packages() {
    find_missing
    [ -n "$missing" ] || return 0
    refuse_offline "$missing (what Debian calls it) is missing"
    ask="apt-get install --no-install-recommends $missing"
    command -v apt-get >/dev/null 2>&1 ||
        die "this machine has no apt-get; install what Debian calls $missing, then run this again."
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "packages are missing and only root can add them: run '$ask' as root, then this again."
        as_root true || die "packages are missing and sudo refused: run '$ask' as root, then this again."
    fi
    # shellcheck disable=SC2086 # a list of words
    step "installing $missing (apt)" apt_install $missing
    asked=$missing
    find_missing
    [ -z "$missing" ] || die "apt installed $asked, yet what $missing should bring still does not work here."
}

is_package() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'; }

# What only tests want: they make hosts of their own, hold our archives against GNU's, and run programs that know
# nothing of ukperf. Without it they are skipped.
install_for_tests() {
    wanted=
    has_program libvirtd || wanted="$wanted libvirt-daemon"
    # A package of its own where libvirt's daemon comes without it; elsewhere the daemon's, which was just named.
    has_driver storage || ! is_package libvirt-daemon-driver-storage || wanted="$wanted libvirt-daemon-driver-storage"
    has_program ssh || wanted="$wanted openssh-client"
    has_program cpio || wanted="$wanted cpio"
    has_program lua5.4 || wanted="$wanted lua5.4"
    has_program sqlite3 || wanted="$wanted sqlite3"
    has_program strace || wanted="$wanted strace"
    wanted=${wanted# }
    [ -n "$wanted" ] || return 0
    if command -v apt-get >/dev/null 2>&1 && as_root true 2>/dev/null; then
        # shellcheck disable=SC2086 # a list of words
        step "installing $wanted for the tests (apt)" apt_install $wanted
    else
        say "tests that want $wanted are skipped, since nobody here may install it."
    fi
}

# As root, libvirt's QEMU driver does not load unless the user and the group that it was built for exist, although we
# have it use neither. The distributions' libvirt-daemon-system makes them, and brings a daemon with it.
ensure_qemu_user() {
    [ "$(id -u)" = 0 ] || return 0
    why="without which libvirt's QEMU driver does not load for root"
    if grep -qi ubuntu /etc/os-release && ! getent group kvm >/dev/null; then # containers have no udev, which makes it
        step "adding the system group kvm, $why" groupadd --system kvm
    fi
    ! getent passwd libvirt-qemu >/dev/null || return 0
    if getent group libvirt-qemu >/dev/null; then group='--gid libvirt-qemu'; else group=--user-group; fi
    # shellcheck disable=SC2086 # one or two words
    step "adding the system user libvirt-qemu, $why" \
        useradd --system $group --no-create-home --home-dir /var/lib/libvirt --shell /usr/sbin/nologin \
        --comment 'Libvirt Qemu' libvirt-qemu
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
    venv_works || step "making .venv with Python $version" "$python" -m venv --clear "$root/.venv"
    packages_are_there "$1" && return 0
    refuse_offline "Python packages are missing in .venv"
    rm -f "$root/.venv/ukperf-pyproject"
    if has_libvirt_python; then how=pip; else how="pip; libvirt's is compiled, which takes a minute"; fi
    step "installing ukperf and its Python packages into .venv ($how)" pip_install "$1"
    sha256sum <"$root/pyproject.toml" >"$root/.venv/ukperf-pyproject"
    packages_are_there "$1" || { tail -n 25 "$log" >&2; die "pip is content, yet ukperf does not start; the log is $log."; }
}

# The Linux guest's kernel is the distribution's own, in the user's cache; whoever calls this has asked for it.
ensure_linux_kernel() {
    "$root/.venv/bin/python" -c 'import sys
from ukperf import guests
from ukperf.guests.base import BuildOptions
sys.exit(not guests.get("linux").availability(BuildOptions()).ok)' >>"$log" 2>&1 && return 0
    refuse_offline "the Linux guest's kernel is missing"
    step "getting the Linux guest's kernel (apt, into your cache)" "$root/.venv/bin/ukperf" images pull linux
}

# The other guests' kernels are their projects': each is asked for the newest one where none is here, shortly, and what
# cannot be had is said (status 2) and left out.
ensure_unikernels() {
    [ "$offline" = no ] || return 0
    status=0
    "$root/.venv/bin/ukperf" images pull --missing >&2 || status=$?
    [ $status -lt 128 ] || exit $status
}

# setup EXTRA: make this machine able to run ukperf, with the optional packages EXTRA of pyproject.toml ('': none).
setup() {
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || die "ukperf runs on x86-64 Linux, and this is $(uname -s) on $(uname -m)."
    lock
    open_log
    find_python
    install_system_packages
    [ "$1" != dev ] || install_for_tests
    ensure_qemu_user
    ensure_venv "$1"
    ensure_linux_kernel
    unlock
}
