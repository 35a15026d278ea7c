"""Extracts the README's images from the event files of runs: `python docs/pictures.py runs`, after

for lesson in naive batchnorm deep; do
  python train.py fit --config configs/$lesson.yaml --trainer.max_steps 2000 --trainer.callbacks+=NumberRange
done
"""

import io
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

DOCS = Path(__file__).parent
SATURATION_TAG = "saturation_map/network.hidden.tanh0"


class LoggedImage(NamedTuple):
    """An image in the event file of a run."""

    lesson: str
    tag: str
    position: int
    """Index among the images of the tag, in order of steps; -1 is the last."""


PICTURES = {
    "overview": [LoggedImage("deep", "Overview", -1)],
    "saturation": [
        LoggedImage("naive", SATURATION_TAG, 0),
        LoggedImage("batchnorm", SATURATION_TAG, 0),
    ],
    "activations": [LoggedImage("deep", "activation_distribution", 0)],
    "gradients": [LoggedImage("deep", "activation_grad_distribution", 0)],
    "ranges": [
        LoggedImage("deep", "number_range/weight", -1),
        LoggedImage("deep", "number_range/activation_grad", -1),
    ],
    "updates": [LoggedImage("deep", "update_ratio", -1)],
}
"""The logged images of each file in docs/, from left to right."""


def load_image(runs: Path, source: LoggedImage) -> Image.Image:
    """Reads an image from the event file of the newest run of a lesson."""
    versions = (runs / source.lesson).glob("version_*")
    newest = max(versions, key=lambda folder: int(folder.name.split("_")[1]))
    events = EventAccumulator(str(newest), size_guidance={"images": 0})
    events.Reload()
    event = events.Images(source.tag)[source.position]
    return Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")


def concatenate(images: list[Image.Image]) -> Image.Image:
    """Places images of the same size in a row."""
    width, height = images[0].size
    row = Image.new("RGB", (width * len(images), height), "white")
    for column, image in enumerate(images):
        row.paste(image, (column * width, 0))
    return row


def main() -> None:
    runs = Path(sys.argv[1])
    for name, sources in PICTURES.items():
        row = concatenate([load_image(runs, source) for source in sources])
        row.quantize(64).save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
