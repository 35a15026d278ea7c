"""Reading of runs from event files, of this project or any other that writes them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._messages import InstrumentError
from .run import Distribution, Image, Run, Series

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVENTS = "events.out.tfevents.*"

HEALTH = "health/json"
"""Tag of the report of `HealthCheck`."""

SETTINGS = ("config.yaml", "hparams.yaml")
"""Files beside the event files with a run's settings; the first has more."""

ALL = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}
"""TensorBoard's reader leaves nothing out."""


def read_runs(paths: str | Path | Sequence[str | Path]) -> list[Run]:
    """Reads the runs below some folders, each folder with event files a run.

    Args:
        paths: Folder of a run, or folders, or folders that hold such folders.

    Raises:
        InstrumentError: If none is given, there is no event file in one of them, or TensorBoard, which reads them, is
            missing.
    """
    paths = [paths] if isinstance(paths, str | Path) else paths
    if not paths:
        raise InstrumentError(
            "runs is empty: give at least one folder with event files."
        )
    folders: dict[Path, None] = {}
    for path in map(Path, paths):
        below = sorted({file.parent for file in path.rglob(EVENTS)})
        if not below:
            what = "is no folder" if not path.is_dir() else "has no event file in it"
            raise InstrumentError(
                f"{path} {what}: give folders of runs, which have files {EVENTS!r} of TensorBoardLogger in them."
            )
        folders |= dict.fromkeys(below)
    names = short_names(list(folders))
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def short_names(folders: Sequence[Path]) -> list[str]:
    """Returns the parts of paths that tell them apart; the last part of a single one."""
    parts = [folder.resolve().parts for folder in folders]
    if len(parts) == 1:
        return [parts[0][-1]]
    shared = 0
    while len({each[: shared + 1] for each in parts}) == 1:
        shared += 1
    return ["/".join(each[shared:]) or each[-1] for each in parts]


def read_run(folder: Path, name: str) -> Run:
    """Reads one folder of event files."""
    events = load_events(folder)
    tags = events.Tags()
    return Run(
        name,
        str(folder),
        {tag: series_of(events, tag) for tag in tags["scalars"]},
        {tag: distributions_of(events, tag) for tag in tags["histograms"]},
        {tag: images_of(events, tag) for tag in tags["images"]},
        health_of(events, tags["tensors"]),
        settings_of(folder),
    )


def load_events(folder: Path) -> "EventAccumulator":
    """Returns TensorBoard's reader of a folder, which knows how to follow several files and restarts.

    Raises:
        InstrumentError: If TensorBoard is not installed.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            EventAccumulator,
        )
    except ImportError as error:
        raise InstrumentError(
            "Runs are read by TensorBoard, which is not installed: pip install tensorboard"
        ) from error
    events = EventAccumulator(str(folder), size_guidance=ALL)
    events.Reload()
    return events


def series_of(events: "EventAccumulator", tag: str) -> Series:
    """Returns the numbers of a tag; of several at one step the last, as of a run that was resumed before it."""
    values = {point.step: point.value for point in events.Scalars(tag)}
    steps = sorted(values)
    return Series(steps, [values[step] for step in steps])


def distributions_of(events: "EventAccumulator", tag: str) -> list[Distribution]:
    """Returns the histograms of a tag, without empty bins at their ends."""
    distributions = {}
    for point in events.Histograms(tag):
        value = point.histogram_value
        low = max(value.min, -1e300)
        edges = [low, *(min(limit, value.max) for limit in value.bucket_limit)]
        bins = [
            (left, right, count)
            for left, right, count in zip(edges, edges[1:], value.bucket, strict=False)
            if right > left or count
        ]
        if bins:
            limits = [bins[0][0], *(right for _, right, _ in bins)]
            counts = [count for *_, count in bins]
            distributions[point.step] = Distribution(point.step, limits, counts)
    return [distributions[step] for step in sorted(distributions)]


def images_of(events: "EventAccumulator", tag: str) -> list[Image]:
    """Returns the pictures of a tag."""
    images = {
        point.step: Image(point.step, point.encoded_image_string)
        for point in events.Images(tag)
    }
    return [images[step] for step in sorted(images)]


def health_of(
    events: "EventAccumulator", tensors: Sequence[str]
) -> dict[str, Any] | None:
    """Returns the last report of `HealthCheck`; None without one."""
    if HEALTH not in tensors:
        return None
    (text,) = events.Tensors(HEALTH)[-1].tensor_proto.string_val
    return json.loads(text)


def settings_of(folder: Path) -> dict[str, Any]:
    """Returns the settings beside event files; nothing where there are none that can be read."""
    for name in SETTINGS:
        file = folder / name
        if file.is_file() and (settings := read_yaml(file)):
            return flattened(settings)
    return {}


def read_yaml(file: Path) -> dict[str, Any]:
    """Returns the contents of a YAML file, objects of Python as text; empty if it cannot be read."""
    try:
        import yaml
    except ImportError:  # comes with Lightning
        return {}

    class Loader(yaml.SafeLoader):
        """Reads no objects."""

    Loader.add_multi_constructor("", lambda _loader, tag, _node: tag)
    try:
        contents = yaml.load(file.read_text(), Loader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return {}
    return contents if isinstance(contents, dict) else {}


def flattened(settings: dict[Any, Any], start: str = "") -> dict[str, Any]:
    """Returns nested settings with names joined by dots; lists as one value, infinities as text."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        full = f"{start}{name}"
        if isinstance(value, dict) and value:
            flat |= flattened(value, f"{full}.")
        elif isinstance(value, float) and not math.isfinite(value):
            flat[full] = str(value)
        else:
            flat[full] = value
    return flat
