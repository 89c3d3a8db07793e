"""Chromium without a window, through Debian's chromedriver: WebDriver in a few requests."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One session. Every method waits until its command is done."""

    def __init__(self, port: int, arguments: list[str]) -> None:
        self.root = f"http://127.0.0.1:{port}"
        options = {"args": arguments, "binary": shutil.which("chromium")}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
        found = self._send("/session", {"capabilities": {"alwaysMatch": wanted}})
        self.root += f"/session/{found['sessionId']}"

    def _send(self, path: str, content: Any = None, method: str | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.root + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as problem:
            raise AssertionError(json.load(problem)["value"]["message"]) from None

    def open(self, url: str) -> None:
        """Load a page and wait until it says that it is ready."""
        self._send("/url", {"url": "about:blank"})
        self._send("/url", {"url": url})
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str, *arguments: object) -> Any:
        return self._send("/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str) -> Any:
        """A script whose last argument is to be called with the result."""
        return self._send("/execute/async", {"script": script, "args": []})

    def wait(self, script: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Keys one after another; special ones as WebDriver numbers them."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._send("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def resize(self, width: int, height: int) -> None:
        """Of what the page sees, whatever a window must have at least."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._send("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def logs(self, kind: str) -> list[dict[str, Any]]:
        """Entries since the last call."""
        return self._send("/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Addresses asked for since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.logs("performance"))
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        self._send("", method="DELETE")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; the test is skipped, with the reason, where there is none."""
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if absent:
        pytest.skip(f"no {' and no '.join(absent)}: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        browser = Browser(port, ["--headless=new", "--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait(20)
