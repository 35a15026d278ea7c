"""Takes the README's pictures out of the event files of runs: `python docs/pictures.py runs`, after

for lesson in naive batchnorm deep; do python train.py fit --config configs/$lesson.yaml --trainer.max_steps 2000; done
"""

import io
import sys
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

HERE = Path(__file__).parent
MAP = "saturation_map/network.hidden.tanh0"
PICTURES = {
    "saturation": [("naive", MAP, 0), ("batchnorm", MAP, 0)],
    "activations": [("deep", "activation_distribution", 0)],
    "updates": [("deep", "update_ratio", -1)],
}
"""By name, the pictures side by side: lesson, tag, and which of those in time."""


def take(runs: Path, lesson: str, tag: str, which: int) -> Image.Image:
    """Returns a picture out of the newest run of a lesson."""
    newest = max((runs / lesson).glob("version_*"), key=lambda folder: int(folder.name.split("_")[1]))
    events = EventAccumulator(str(newest), size_guidance={"images": 0})
    events.Reload()
    return Image.open(io.BytesIO(events.Images(tag)[which].encoded_image_string)).convert("RGB")


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Joins pictures of one size."""
    width, height = pictures[0].size
    joined = Image.new("RGB", (width * len(pictures), height), "white")
    for place, picture in enumerate(pictures):
        joined.paste(picture, (place * width, 0))
    return joined


if __name__ == "__main__":
    for name, parts in PICTURES.items():
        picture = side_by_side([take(Path(sys.argv[1]), *part) for part in parts])
        picture.quantize(64).save(HERE / f"{name}.png", optimize=True)
