"""Pages in headless Chromium, over its debugging pipe: what went wrong, how they lie, what they look like."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH: apt-get install chromium"
)

# without them the browser's own answers to a key, such as closing a dialog, do not come
_KEY_CODES = {"Escape": 27, "Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
_COMPLAINTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")


class Browser:
    """One page of one browser. ``told`` collects console messages, exceptions, blocked and failed loads."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb", 0), os.fdopen(answers, "rb", 0)
        self._buffer, self._count = b"", 0
        self._session: str | None = None
        self.told: list[str] = []
        self.requested: list[str] = []
        self._loaded = False
        self._width = 0

    def start(self) -> None:
        """Opens an empty page and listens to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._count:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = self._answers.read(1 << 16)
            assert chunk, "the browser went away"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method in _COMPLAINTS:
            self.told.append(f"{method}: {json.dumps(params)[:500]}")

    def open(self, path: Path, width: int = 1000, height: int = 900) -> None:
        """Loads a file in a window of this size, pixels."""
        self.visit(path.resolve().as_uri(), width, height)

    def visit(self, address: str, width: int = 1000, height: int = 900) -> None:
        """Loads an address in a window of this size, pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._loaded, self._width = False, width
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._message()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; the tools may run scripts where the page may not."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: str = "") -> None:
        """Presses and lets go a key, by its name in keyboard events."""
        named: dict[str, Any] = {"key": key, "code": code or key}
        if key in _KEY_CODES:
            named["windowsVirtualKeyCode"] = _KEY_CODES[key]
        if len(key) == 1:
            named["text"] = key
        self.call("Input.dispatchKeyEvent", type="keyDown", **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Moves, presses or lets go the left button: mouseMoved, mousePressed, mouseReleased."""
        more = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=1, **more)

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} has not become true; {self.told}"
            time.sleep(0.05)
        return found

    def window(self, path: Path) -> Path:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path

    def screenshot(self, path: Path, most: int = 15_000) -> Path:
        """The page from its top, at most so many pixels of it, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": self._width, "height": min(size["height"], most), "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as it is printed."""
        printed = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(printed["data"]))
        return path


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Browser]:
    """Starts a browser with an empty profile and ends it; ``flags`` are its own, such as a software WebGL."""
    assert CHROMIUM is not None
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()

    def wire() -> None:  # the browser reads commands from 3 and answers on 4
        os.dup2(command_read, 103)
        os.dup2(answer_write, 104)
        os.dup2(103, 3)
        os.dup2(104, 4)
        os.closerange(5, 105)

    # Root, as in containers, has no sandbox; the pages are made by the tests.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [CHROMIUM, "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--remote-debugging-pipe",
         f"--user-data-dir={profile}", *sandbox, *flags],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        close_fds=False, preexec_fn=wire,
    )  # fmt: skip
    os.close(command_read)
    os.close(answer_write)
    page = Browser(command_write, answer_read)
    try:
        page.start()
        yield page
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        page._commands.close()
        page._answers.close()
