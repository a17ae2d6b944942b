"""The files that a run's guests boot from: their digests are in its plan, and a run stops where one is another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging.digests import Digests
from ukperf.model import Image
from ukperf.text import shell

_Facts = tuple[int, int, int, int]


def files_of(image: Image) -> list[Path]:
    """Kernel, initrd, disks; of what runs as a process of this machine its program, and what a command needs."""
    program = Path(image.argv[0]) if image.argv else None
    others = (image.command.program, *image.command.files) if image.command is not None else ()
    return [path for path in (image.kernel, image.initrd, *image.disks, program, *others) if path is not None]


def digests_of(images: Iterable[Image], digests: Digests, *, trees: bool = False) -> dict[str, str]:
    """path → sha256 of each file that is there. trees: of packed trees too, which other machines are to have.

    Raises UkperfError for what cannot be read.
    """
    known = list(images)
    paths = dict.fromkeys(path for image in known for path in files_of(image))
    packed = dict.fromkeys(image.tree for image in known if image.tree is not None and trees)
    return {
        **{str(path): digests.file(path) for path in paths if path.is_file()},
        **{str(tree): digests.tree(tree) for tree in packed},
    }


def refuse_others(
    images: Iterable[Image], planned: Mapping[str, str], digests: Digests, command: Iterable[str]
) -> None:
    """Raises UkperfError for a file that is gone, or has another digest than planned; command: made the run."""
    again = "start a new run with the same options: " + shell(*command)
    for image in images:
        for path in files_of(image):
            if not path.is_file():
                raise UkperfError(
                    f"The {image.guest} image of this run is gone ({path}).", hint=f"The cache was emptied; {again}"
                )
            now = digests.file(path)
            was = planned.get(str(path), image.kernel_digest if path == image.kernel else "") or now
            if now != was:
                raise UkperfError(
                    f"{path}, which {image.guest} boots from, has the digest sha256:{now}, and had sha256:{was} when "
                    "this run was planned.",
                    hint=f"Put the file back, or {again}",
                )


class BootFiles:
    """What the system says of the files of a run, to see that nobody changes them while it goes on: the digest of a
    large file would take longer than a boot."""

    def __init__(self, images: Iterable[Image]) -> None:
        self._before = {path: _facts(path) for image in images for path in files_of(image)}

    def changed(self, image: Image) -> str:
        """What happened to a file of this image since, in a sentence; nothing where all are as they were."""
        for path in files_of(image):
            now = _facts(path)
            if now != self._before[path]:
                what = "changed" if now is not None else "removed"
                return f"{path}, which {image.guest} boots from, was {what} while the run went on."
        return ""


def _facts(path: Path) -> _Facts | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
