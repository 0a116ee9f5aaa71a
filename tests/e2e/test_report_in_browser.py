"""The HTML page in a real browser: it fetches nothing, runs no foreign script, and fits a phone.

Chromium is driven over its DevTools pipe (null-terminated JSON on descriptors 3 and 4, the
``--remote-debugging-pipe`` of the Chrome DevTools Protocol), so no driver package is needed.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports import COMPILE_FAILURE, NUMERICS_FAILURE, hostile_report, sample_report
from tidemill.records import RunReport
from tidemill.report.html import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium is installed (on Debian: apt-get install chromium)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
WATCHED = {"Network.requestWillBeSent", "Log.entryAdded", "Runtime.exceptionThrown"}


class Browser:
    """One tab of a Chromium; ``events`` holds what WATCHED names."""

    def __init__(self, *, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command; events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str, *, width: int = 1400, dark: bool = False) -> None:
        """Load ``url`` at ``width`` CSS pixels and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._receive, 1 << 16)
            assert data, "chromium ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("method") in WATCHED:
            self.events.append(message)
        return message


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    profile = tmp_path_factory.mktemp("profile")
    # The shell puts the pipes where chromium looks for them: descriptors 3 and 4.
    wrapper = f'exec "$@" 3<&{to_read} 4>&{from_write}'
    process = subprocess.Popen(
        ["bash", "-c", wrapper, "bash", str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Browser(send=to_write, receive=from_read)
    finally:
        os.close(to_write)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()
        os.close(from_read)


def written(report: RunReport, folder: Path) -> str:
    path = folder / "index.html"
    path.write_text(page(report), "utf-8")
    return path.as_uri()


def requests(browser: Browser) -> list[str]:
    sent = [e for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


def complaints(browser: Browser) -> list[str]:
    return [
        json.dumps(e["params"]) for e in browser.events if "requestWillBeSent" not in e["method"]
    ]


def test_the_page_requests_nothing_but_itself(browser: Browser, tmp_path: Path) -> None:
    url = written(sample_report(), tmp_path)
    browser.open(url)
    assert [u for u in requests(browser) if not u.startswith("data:")] == [url]
    assert complaints(browser) == []


def test_hostile_text_runs_no_script_and_adds_no_element(browser: Browser, tmp_path: Path) -> None:
    url = written(hostile_report(), tmp_path)
    browser.open(url)
    assert [u for u in requests(browser) if not u.startswith("data:")] == [url]
    assert complaints(browser) == []
    assert browser.value("document.scripts.length") == 1
    assert browser.value("document.images.length") == 0
    links = "[...document.links].filter(a => a.protocol === 'javascript:').length"
    assert browser.value(links) == 0
    assert "<script>alert('x')</script>" in browser.value("document.body.innerText")


def test_the_policy_refuses_a_script_that_is_not_ours(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    text = page(sample_report()).replace("</main>", "<script>window.foreign = 1</script></main>")
    path.write_text(text, "utf-8")
    browser.open(path.as_uri())
    assert browser.value("window.foreign === undefined") is True
    assert "Content Security Policy" in "".join(complaints(browser))


@pytest.mark.parametrize("width", [1400, 820, 420, 320])
def test_the_page_never_scrolls_sideways(browser: Browser, tmp_path: Path, width: int) -> None:
    browser.open(written(hostile_report(), tmp_path), width=width)
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert browser.value("document.documentElement.scrollWidth") <= width


def test_the_filter_leaves_only_what_matches_every_word(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(sample_report(), tmp_path))
    assert browser.value("document.querySelector('.filter').hidden") is False
    browser.value(
        "(() => { const q = document.querySelector('#q'); q.value = 'F16 Failed';"
        " q.dispatchEvent(new Event('input')); })()"
    )
    shown = (
        "[...document.querySelectorAll('details')].filter(d => !d.hidden)"
        ".map(d => d.querySelector('.mono').textContent)"
    )
    assert browser.value(shown) == [NUMERICS_FAILURE, COMPILE_FAILURE]
    assert browser.value("document.querySelector('output').textContent") == "2 of 32 addresses"
    assert browser.value("document.querySelectorAll('.matrix tbody tr:not([hidden])').length") == 2


def test_a_link_of_the_matrix_opens_the_detail(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(sample_report(), tmp_path))
    opened = "document.getElementById('minilm/encoder/f32/cpu').closest('details').open"
    assert browser.value(opened) is False
    browser.value("document.querySelector(\".matrix a[href='#minilm/encoder/f32/cpu']\").click()")
    browser.call(
        "Runtime.evaluate", expression="new Promise(requestAnimationFrame)", awaitPromise=True
    )
    assert browser.value(opened) is True


def test_the_page_reads_without_script(browser: Browser, tmp_path: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(written(sample_report(), tmp_path))
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value("document.querySelector('.filter').hidden") is True
    assert COMPILE_FAILURE in browser.value("document.body.innerText")


def contrast(browser: Browser, selector: str) -> float:
    """The lowest contrast of text under ``selector`` on what is behind it (WCAG 2.2, 1.4.3)."""
    lowest = """(() => {
      const parse = (c) => c.match(/[0-9.]+/g).map(Number);
      const light = (c) => parse(c).slice(0, 3).map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (!/, 0\\)$/.test(c)) return c;
        }
        return 'rgb(255, 255, 255)';
      };
      const ratios = [...document.querySelectorAll(SELECTOR)].map((e) => {
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      });
      return Math.min(...ratios);
    })()""".replace("SELECTOR", json.dumps(selector))
    return float(browser.value(lowest))


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(browser: Browser, tmp_path: Path, dark: bool) -> None:
    browser.open(written(sample_report(), tmp_path), dark=dark)
    assert contrast(browser, ".st, .soft, small, th, dt, dd, a, p, td, pre") >= 4.5
