"""Tests of a report with numbers under the mouse, in the browser of the machine (Chromium), with the network off."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callbacks.page.html import page_of
from callbacks.page.run import Run, Series

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("altair", reason="needs altair")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300]
NUMBERS = {
    "train/loss": Series(STEPS, [3.0 / (1 + step / 50) for step in STEPS]),
    "activation_std/net.1": Series(STEPS, [0.5 + step / 1000 for step in STEPS]),
    "activation_std/net.3": Series(STEPS, [0.25] * len(STEPS)),
    "activation_grad_std/net.1": Series(STEPS, [0.01] * len(STEPS)),
    "update_ratio/net.0.weight": Series(STEPS, [-3.25] * len(STEPS)),
    "saturation/net.1": Series(STEPS, [0.125] * len(STEPS)),
}
TITLES = {
    "Loss": ("train/loss", 2.752, 1.0),
    "Scale of activations over steps": ("net.1", 0.5, 0.8),
    "Scale of gradients over steps": ("net.1", 0.01, 0.01),
    "Update ratios": ("net.0.weight", -3.25, -3.25),
    "Saturated fraction over steps": ("net.1", 0.125, 0.125),
}
"""Name of a line, and the lowest and the highest of its values that the middle of the chart may show."""

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of([Run("run", "folder", NUMBERS)], hover=True), "utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def open_page(address: str) -> Iterator[OpenPage]:
    """Opens the page in a browser without a network; `page.asked` and `page.errors` are what it asked for, and said."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )

        def open_page(width: int = 1280, **options: Any) -> Any:
            size = {"width": width, "height": 900}
            page = browser.new_context(
                offline=True, viewport=size, **options
            ).new_page()
            page.asked, page.errors = [], []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("console", lambda message: page.errors.append(message.text))
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.goto(address)
            if options.get("java_script_enabled", True):
                page.locator("figure.ready").nth(4).wait_for(timeout=60_000)
            return page

        yield open_page
        browser.close()


def figure_of(page: Any, title: str) -> Any:
    return page.locator("figure", has=page.get_by_text(title, exact=True))


def hover(page: Any, figure: Any) -> str:
    """Moves the mouse over the middle of a chart, and returns what is shown."""
    figure.scroll_into_view_if_needed()
    box = figure.locator(".chart svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.locator("#vg-tooltip-element.visible").wait_for(timeout=10_000)
    return page.locator("#vg-tooltip-element").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800])
def test_numbers_are_under_the_mouse(
    open_page: OpenPage, address: str, width: int, scheme: str
) -> None:
    page = open_page(width, color_scheme=scheme)
    for title, (name, *limits) in TITLES.items():
        text = hover(page, figure_of(page, title))
        cells = dict(re.findall(r"^(.+?)\t(.+)$", text, re.MULTILINE))
        assert int(cells["step"]) in STEPS
        shown, value = [cells[key] for key in cells if key != "step"]
        assert shown in (name, "net.3")
        if shown == name:
            assert min(limits) <= float(value) <= max(limits)
    assert page.asked == [address]
    assert page.errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_values_are_those_of_the_run(open_page: OpenPage) -> None:
    page = open_page()
    text = hover(page, figure_of(page, "Scale of activations over steps"))
    layer, step, value = [line.split("\t")[1] for line in text.splitlines()]
    series = NUMBERS[f"activation_std/{layer}"]
    expected = series.values[series.steps.index(int(step))]
    assert float(value) == pytest.approx(expected, rel=1e-3)


def test_texts_have_the_colors_of_the_page(open_page: OpenPage) -> None:
    colors = []
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        text = page.locator(".chart svg text").first
        colors.append(text.evaluate("each => getComputedStyle(each).fill"))
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert colors[-1] == ink
    assert colors[0] != colors[1]


def test_paper_has_the_drawings(open_page: OpenPage) -> None:
    page = open_page()
    figure = figure_of(page, "Loss")
    chart, drawing = figure.locator(".chart"), figure.locator(".drawing")
    assert (chart.is_visible(), drawing.is_visible()) == (True, False)
    page.emulate_media(media="print")
    assert (chart.is_visible(), drawing.is_visible()) == (False, True)


def test_without_javascript_there_are_the_drawings(open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    assert figure_of(page, "Loss").locator(".drawing").is_visible()


def test_keys_reach_the_verdicts_and_are_not_caught(open_page: OpenPage) -> None:
    page = open_page()
    seen = []
    for _ in range(4):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.innerText"))
    assert seen[:2] == ["Skip to the verdicts", "run"]
    assert seen[2].startswith("run")  # the table of runs, which can be scrolled
    label = page.locator(".chart").first.get_attribute("aria-label")
    assert label.startswith("Loss. Losses over steps")
