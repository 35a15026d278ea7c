"""Takes the picture of a report's first page: `python docs/report_picture.py runs`, after the runs of pictures.py.

It needs playwright and a Chromium of the machine.
"""

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from callbacks import write_report

LESSONS = ("deep", "naive")
SIZE = {"width": 1000, "height": 800}


@contextlib.contextmanager
def browser_page() -> Iterator[Any]:
    """Yields an empty page of a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        browser.close()


def picture_of(part: Any) -> Image.Image:
    """Returns a page, or an element of one, as the browser shows it."""
    return Image.open(io.BytesIO(part.screenshot())).convert("RGB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser_page() as page:
        runs = [Path(sys.argv[1]) / lesson for lesson in LESSONS]
        report = write_report(runs, Path(folder) / "report.html")
        page.goto(report.as_uri())
        picture = picture_of(page).quantize(64)
    picture.save(Path(__file__).with_name("report.png"), optimize=True)


if __name__ == "__main__":
    main()
