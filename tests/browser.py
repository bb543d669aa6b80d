"""Chromium without a screen, driven by its DevTools protocol: enough of it for the tests of the page."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

ALT, CTRL, SHIFT = 1, 2, 8  # modifiers of a key, added up


def find() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


class Page:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.problems: list[str] = []  # errors of its console, and what its scripts raised
        for domain in ("Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(120))).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _note(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.problems.append(str(details))
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "warning" | "assert"} as params}:
                self.problems.append(str(params["args"]))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error" | "warning"} as entry}}:
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, as JSON; as a click of its user, and promises are waited for."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30) -> Any:
        """What an expression gives as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            time.sleep(0.1)
        return value

    def text(self, selector: str) -> str:
        """What is shown of the first element."""
        shown: str = self.run(f"{self._first(selector)}.innerText.trim()")
        return shown

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of the first element, in the window."""
        x, y, width, height = self.run(
            f"(({{x, y, width, height}}) => [x, y, width, height])({self._first(selector)}.getBoundingClientRect())"
        )
        return x, y, width, height

    @staticmethod
    def _first(selector: str) -> str:
        return f"document.querySelector({json.dumps(selector)})"

    def click(self, selector: str, text: str = "") -> None:
        """The first element with this text."""
        among = f"[...document.querySelectorAll({json.dumps(selector)})]"
        self.run(f"{among}.find((one) => one.innerText.includes({json.dumps(text)})).click()")

    def fill(self, selector: str, value: str) -> None:
        """As if its user had written into a field and left it."""
        field = self._first(selector)
        self.run(f"({field}.value = {json.dumps(value)}, {field}.dispatchEvent(new Event('change')))")

    def take_file(self, selector: str, path: Path) -> None:
        """As if its user had chosen a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def download(self, selector: str, text: str, folder: Path) -> Path:
        """The file that a click on an element gives, in a folder that is empty before."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.click(selector, text)
        end = time.monotonic() + 60
        while not (found := [path for path in folder.iterdir() if path.suffix != ".crdownload"]):
            assert time.monotonic() < end, "no file came"
            time.sleep(0.1)
        return found[0]

    def press(self, key: str, *, modifiers: int = 0) -> None:
        """A key, to what has the focus. modifiers: ALT, CTRL, SHIFT, added up."""
        text = key if len(key) == 1 and not modifiers & CTRL else ""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "",
                modifiers=modifiers,
            )  # fmt: skip

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, from a point of the window to another; a click where they are one."""
        points = (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end))
        for kind, (x, y) in points:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def accessible(self) -> list[tuple[str, str]]:
        """(role, name) of all that screen readers find."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, *, width: int = 900, height: int = 1100, dark: bool = False) -> None:
        self.resize(width, height)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def open_page(url: str, microphone: Path | None = None) -> Iterator[Page]:
    """A page. microphone: a WAV file, played again and again."""
    program = find()
    assert program, "there is a browser"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", f"--user-data-dir={profile}"]
        fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        fake += [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
        process = subprocess.Popen(
            [program, *options, *fake, "--remote-debugging-port=0", url],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            end = time.monotonic() + 60
            while not port_file.exists() or not (lines := port_file.read_text().splitlines()):
                assert process.poll() is None, "the browser ended"
                assert time.monotonic() < end, "the browser did not start"
                time.sleep(0.1)
            while not (found := [one for one in _pages(lines[0]) if one["url"].startswith(url)]):
                assert time.monotonic() < end, "the page did not open"
                time.sleep(0.1)
            with connect(found[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                page = Page(socket)
                page.wait_for(f"location.href.startsWith('{url}') && document.readyState === 'complete'")
                yield page
        finally:
            process.terminate()
            process.wait(20)


def _pages(port: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
        pages: list[dict[str, Any]] = json.load(answer)
    return pages
