"""The Vagrantfile is valid for both providers, by Vagrant's own word, and says what we need of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not shutil.which("vagrant"), reason="no vagrant on this machine")


def vagrant(tmp_path: Path, provider: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "dotfile"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_DEFAULT_PROVIDER": provider,
    }
    if provider == "virtualbox" and not shutil.which("VBoxManage"):
        # Vagrant asks VirtualBox for its version before it looks at the provider's settings
        stand_in = tmp_path / "bin" / "VBoxManage"
        stand_in.parent.mkdir()
        stand_in.write_text('#!/bin/sh\n[ "$1" != --version ] || echo 7.0.20r163906\n')
        stand_in.chmod(0o755)
        environment["PATH"] = f"{stand_in.parent}:{environment['PATH']}"
    command = ["vagrant", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("provider", ["libvirt", "virtualbox"])
def test_vagrant_finds_the_file_valid(tmp_path: Path, provider: str) -> None:
    if provider == "libvirt" and "vagrant-libvirt" not in vagrant(tmp_path, provider, "plugin", "list").stdout:
        pytest.skip("no vagrant-libvirt on this machine")
    done = vagrant(tmp_path, provider, "validate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validated successfully" in done.stdout
