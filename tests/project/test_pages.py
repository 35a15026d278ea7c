"""Tests of TensorBoard's pages as a person sees them, in the browser of the machine (Chromium)."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fits import ALL, Regression, every_step, fit, tanh_net
from lightning.pytorch.loggers import TensorBoardLogger

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

SECONDS = 60_000
"""Milliseconds that a page may take to show what it should."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a TensorBoard that shows two runs, of a shallow and a saturated network."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        logger = TensorBoardLogger(folder, name=None, version=name)
        fit(lambda: Regression(tanh_net()), every_step(ALL), logger=logger)
    port = free_port()
    command = ["-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/data/runs")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str) -> None:
    """Waits until a server answers with two runs."""
    for _ in range(120):
        time.sleep(0.5)
        try:
            if b"second" in urllib.request.urlopen(url).read():
                return
        except OSError:
            continue
    raise TimeoutError(url)


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser.new_page(viewport={"width": 1280, "height": 1400})
        browser.close()


def see(page: Any, url: str, texts: list[str], screenshot: Path) -> None:
    """Opens a page, waits for texts on it, and takes a screenshot."""
    page.goto(url)
    for text in texts:
        page.get_by_text(text, exact=False).first.wait_for(timeout=SECONDS)
    page.screenshot(path=screenshot)
    assert screenshot.stat().st_size > 10_000


PAGES = {
    "custom_scalars": [
        "Overview",
        "std of activations over layers",
        "log10 update : weight, and the healthy band",
        "fraction of dead units over layers",
        "Layer by layer",
    ],
    "timeseries": ["activation_std", "overview", "update_ratio"],
    "text": ["health", "number_range", "fits into"],
    "histograms": ["activation"],
    "images": [
        "Overview",
        "activation_distribution",
        "number_range",
        "saturation_map",
    ],
}


@pytest.mark.parametrize("tab", PAGES)
def test_a_page_shows_both_runs(
    page: Any, address: str, tab: str, tmp_path: Path
) -> None:
    page.goto("about:blank")
    runs = ["first", "second"]
    see(page, f"{address}/#{tab}", [*runs, *PAGES[tab]], tmp_path / f"{tab}.png")


@pytest.mark.parametrize(
    ("kind", "tag"),
    [
        ("scalars", "update_ratio/net.0.weight"),
        ("histograms", "activation/net.1"),
        ("images", "saturation_map/net.1"),
        ("scalars", "e4m3_subnormal/weight/net.0.weight"),
    ],
)
def test_a_description_is_beside_each_chart(address: str, kind: str, tag: str) -> None:
    answer = urllib.request.urlopen(f"{address}/data/plugin/{kind}/tags").read()
    shown = json.loads(answer)["second"][tag]["description"]
    assert "<strong>Bad:</strong>" in shown


def test_the_overview_is_the_first_picture(page: Any, address: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}/#images")
    page.get_by_text("tag: Overview").first.wait_for(timeout=SECONDS)
    places = [
        page.get_by_text(tag, exact=True).first.bounding_box()["y"]
        for tag in ("Overview", "activation_distribution", "update_ratio")
    ]
    assert places == sorted(places)
    assert page.get_by_text("tag: Overview").count() == 2  # of two runs, one each


def test_the_charts_of_the_overview_have_lines(page: Any, address: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}/#custom_scalars")
    # One after the other, the charts get their lines: a line a run.
    page.get_by_text("Matches (2)").nth(4).wait_for(timeout=SECONDS)
