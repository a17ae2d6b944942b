"""A headless Chromium that tests ask about pages, by its devtools protocol over two pipes."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE_S = 240  # on a machine where others measure


def program() -> str | None:
    """Where it is installed, if it is."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """One browser with one page. Raises RuntimeError for what it refuses, and TimeoutError where it says nothing."""

    def __init__(self, folder: Path) -> None:
        name = program()
        assert name is not None
        ours, theirs = os.pipe(), os.pipe()  # we read ours[0]; the browser reads theirs[0] as fd 3
        self._in, self._out = ours[0], theirs[1]
        wrap = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        words = ["bash", "-c", wrap, "chromium", str(theirs[0]), str(ours[1]), name, *QUIET]
        self._process = subprocess.Popen(
            [*words, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(theirs[0], ours[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs[0])
        os.close(ours[1])
        self._rest, self._number, self._session = b"", 0, ""
        target = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self.ask("Page.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._in)
        os.close(self._out)  # it ends when its pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            said = self._next()
            if said.get("id") == self._number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                result: dict[str, Any] = said["result"]
                return result

    def open(self, page: Path, width: int, height: int = 900, features: Mapping[str, str] | None = None) -> None:
        """Load a file at a width (CSS px), with media features like `prefers-color-scheme`."""
        self.look(width, height, features)
        self.ask("Page.navigate", url=page.as_uri())
        self.evaluate(
            "new Promise(ok => document.readyState == 'complete' ? ok() : addEventListener('load', () => ok()))"
        )
        assert self.evaluate("location.href") == page.as_uri()

    def look(self, width: int, height: int = 900, features: Mapping[str, str] | None = None, media: str = "") -> None:
        """The page that is open, at another width, in another scheme; media: `print`."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        wanted = [{"name": name, "value": value} for name, value in (features or {}).items()]
        self.ask("Emulation.setEmulatedMedia", media=media, features=wanted)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page, as plain data."""
        told = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(json.dumps(told["exceptionDetails"])[:2000])
        return told["result"].get("value")

    def point(self, x: float, y: float) -> None:
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def tap(self, x: float, y: float) -> None:
        self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], PATIENCE_S)
            if not ready:
                raise TimeoutError("chromium says nothing")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise RuntimeError("chromium ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said
