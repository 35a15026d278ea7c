"""Takes the picture of a report's first page: `python docs/report_picture.py runs`, after the runs of pictures.py.

It needs playwright and a Chromium of the machine.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from callbacks import write_report

SIZE = {"width": 1000, "height": 800}


def picture_of(page: Path) -> Image.Image:
    """Returns the upper part of a page as the browser shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        tab.goto(page.as_uri())
        picture = tab.screenshot()
        browser.close()
    return Image.open(io.BytesIO(picture)).convert("RGB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(sys.argv[1], Path(folder) / "report.html")
        picture = picture_of(page).quantize(64)
    picture.save(Path(__file__).with_name("report.png"), optimize=True)


if __name__ == "__main__":
    main()
