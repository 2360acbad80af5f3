"""Drive headless Chromium over its debugging pipe (Chrome DevTools Protocol): clicks, keys, sizes and a clipboard."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One process; :meth:`open` gives a fresh page each time."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        here_in, there_out = os.pipe()
        there_in, here_out = os.pipe()
        self._in, self._out, self._rest, self._count = here_in, here_out, b"", 0
        # Chromium reads commands from descriptor 3 and writes to 4; sh may know descriptors of one digit only.
        command = ["bash", "-c", f'exec "$@" 3<&{there_in} 4>&{there_out}', "bash", CHROMIUM, *FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            pass_fds=(there_in, there_out), stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        os.close(there_in)
        os.close(there_out)
        self._session: str | None = None
        self.console: list[str] = []

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; what the page logs meanwhile goes to ``console``."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read(time.monotonic() + 60)
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            self._rest += os.read(self._in, 1 << 20)
        line, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(line)
        kind, values = found.get("method"), found.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.console.append(str(values["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            self.console.append(str(values["args"]))
        elif kind == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.console.append(values["entry"]["text"])
        return found

    def open(self, file: Path, width: int = 1200, height: int = 800, dark: bool = False) -> None:
        """Load a page and wait until it has drawn itself."""
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.send(f"{domain}.enable")
        self.console.clear()
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        mobile = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=file.as_uri())
        self.wait("document.documentElement?.dataset.drawn === 'yes'")

    def js(self, expression: str) -> Any:
        """The value of an expression; promises are awaited. Outside the page's content security policy."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, (expression, done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, expression: str) -> None:
        until = time.monotonic() + 30
        while not self.js(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.02)

    def _middle(self, selector: str) -> tuple[float, float]:
        query = json.dumps(selector)
        self.js(f"document.querySelector({query}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.js(
            f"(() => {{ const b = document.querySelector({query}).getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        return float(box[0]), float(box[1])

    def hover(self, selector: str) -> None:
        x, y = self._middle(selector)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        self.hover(selector)
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def drag(self, selector: str, up: float) -> None:
        """Press on an element and let go so many pixels above."""
        x, y = self._middle(selector)
        for kind, moved in (("mousePressed", 0.0), ("mouseMoved", up / 2), ("mouseMoved", up), ("mouseReleased", up)):
            at = y - moved
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=at, button="left", buttons=1, clickCount=1)

    def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "ArrowUp": 38, "ArrowRight": 39}[key]
        typed = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def clipboard(self) -> str:
        """What the system clipboard of this browser holds, pasted into the page."""
        session, self._session = self._session, None
        self.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        self._session = session
        return str(self.js("navigator.clipboard.readText()"))

    def screenshot(self, file: Path) -> None:
        """The whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))
