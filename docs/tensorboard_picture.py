"""Takes the picture of TensorBoard's histograms: `python docs/tensorboard_picture.py runs`.

It needs the runs of pictures.py, playwright and a Chromium of the machine.
"""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from pictures import concatenate
from PIL import Image
from report_picture import browser_page, picture_of

LESSONS = ("naive", "batchnorm")
TAG = "activation/network.hidden.tanh0"
SECONDS = 60
"""Time in which TensorBoard must answer, and a chart must be there."""


@contextlib.contextmanager
def tensorboard(runs: str) -> Iterator[str]:
    """Shows a folder of runs at the address that is yielded."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["--logdir", runs, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *options],
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_runs(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def wait_for_runs(address: str) -> None:
    """Waits until TensorBoard has read the lessons.

    Raises:
        TimeoutError: If it has not after a minute.
    """
    for _ in range(SECONDS):
        time.sleep(1)
        with contextlib.suppress(OSError):
            runs = urllib.request.urlopen(f"{address}/data/runs").read().decode()
            if all(lesson in runs for lesson in LESSONS):
                return
    raise TimeoutError(f"TensorBoard shows no run of {' and '.join(LESSONS)}")


def histograms(address: str) -> list[Image.Image]:
    """Returns the chart of each lesson as the browser shows it."""
    filters = {"tagFilter": f"^{TAG}$", "runFilter": "|".join(LESSONS)}
    with browser_page() as page:
        page.goto(f"{address}/?{urlencode(filters)}#timeseries")
        cards = [page.locator("histogram-card", has_text=name) for name in LESSONS]
        for card in cards:
            card.locator("svg path").first.wait_for(timeout=SECONDS * 1000)
        return [picture_of(card) for card in cards]


def main() -> None:
    with tensorboard(sys.argv[1]) as address:
        picture = concatenate(histograms(address)).quantize(64)
    picture.save(Path(__file__).with_name("tensorboard.png"), optimize=True)


if __name__ == "__main__":
    main()
