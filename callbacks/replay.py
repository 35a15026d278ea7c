"""replay: runs the step of a bundle again, on a copy, and says where it went wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ._lightning import import_package, imported_packages
from ._messages import InstrumentError
from .recorder.bundle import Bundle, batches_of, read_bundle, state_of
from .recorder.facts import device_name, versions
from .recorder.first_seen import FirstSeen
from .recorder.plain import left_out
from .recorder.replay_result import ReplayResult, compare, result_of
from .recorder.second_run import SecondRun
from .recorder.states import checkpoint_state
from .trial.trial import package_of, run_trial

COMPARED_VERSIONS = ("python", "torch", "lightning", "pytorch_lightning", "platform")


def replay(
    bundle: str | Path,
    model: nn.Module,
    data: Any = None,
    accelerator: str = "auto",
    layers: list[str] | None = None,
) -> ReplayResult:
    """Runs the step of a bundle of `FlightRecorder` again, with all modules observed.

    The step runs on a copy of the model, with the parameters, buffers, optimizers, batch and random states of the
    bundle, and the Trainer's precision, clipping and accumulation. Nothing is written, and the model stays as it is. On
    the same device and software, with the state in the bundle, all numbers are bit-equal to the training's, and the
    result says so where they are not.

    Args:
        bundle: Folder that `FlightRecorder` wrote.
        model: LightningModule of the same architecture; its own parameters are of use only where the bundle has no
            state, and no checkpoint.
        data: LightningDataModule, where the model asks it for sizes or the like; its batches are not used.
        accelerator: That of the Trainer, such as "cpu".
        layers: As of `FlightRecorder`, to observe others.

    Returns:
        The first operation whose output is not finite, or the layer whose output or gradient jumped, and all numbers.

    Raises:
        ValueError: If the folder is no bundle, the model is another, or the batch is of a class that is not imported.

    Example:
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> replay("no/such/bundle", BoringModel())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        callbacks._messages.InstrumentError: no/such/bundle is no bundle of FlightRecorder: it has no bundle.json. ...
    """
    package_of(model)
    record = read_bundle(bundle)
    start, state = start_of(record)
    batches = [each for each in batches_of(record) if each["step"] >= start]
    if not batches:
        raise InstrumentError(f"{bundle} has no batch, so that no step can be run.")
    before = [each for each in record.numbers if each.step < batches[0]["step"]]
    run = SecondRun(batches, state, before, record.facts["progress"], layers)
    raised = run_again(model, data, record, batches, run, accelerator)
    reasons = reasons_of(record, state, raised, accelerator)
    again = run.comparable or run.numbers
    comparison = compare(record.numbers, again, has_all_outputs=layers is None)
    is_equal = comparison.compared > 0 and comparison.difference is None
    first = run.first or not_again(record, is_equal)
    return result_of(record.step, first, [*before, *run.numbers], comparison, reasons)


def not_again(record: Bundle, is_equal: bool) -> FirstSeen | None:
    """Returns what the training had, where the second run alone names nothing.

    An exception that did not come again is told; and what a bit-equal run has is what the training had.
    """
    trigger, first = record.facts["trigger"], record.facts["first"]
    if trigger["kind"] == "exception":
        message = (
            f"The second run raised nothing. In the training: {trigger['message']}"
        )
        return FirstSeen(trigger["step"], "", message)
    return FirstSeen(**first) if is_equal else None


def run_again(
    model: nn.Module,
    data: Any,
    record: Bundle,
    batches: Sequence[dict[str, Any]],
    run: SecondRun,
    accelerator: str,
) -> Exception | None:
    """Runs the steps of a bundle; returns what they raised.

    Raises:
        InstrumentError: If not even the first batch began, or the model is another.
    """
    steps: int = batches[-1]["step"] + 1
    loader = DataLoader([each["batch"] for each in batches], None, collate_fn=same)  # type: ignore[arg-type]
    arguments = dict(record.facts["trainer"])
    plugins = plugins_for(arguments, accelerator)
    options = {name: value for name, value in arguments.items() if value is not None}

    def prepare(copied: Any, source: Any) -> None:
        run.prepare(copied)
        if data is not None:
            run.prepare(source)
            source.train_dataloader = lambda: loader

    source = loader if data is None else data
    try:
        run_trial(model, source, [run], steps, accelerator, prepare, plugins, **options)
    except InstrumentError:
        raise
    except Exception as error:
        return run.expect_begun(error)
    return None


def same(batch: Any) -> Any:
    """Returns a batch as it is."""
    return batch


def plugins_for(arguments: dict[str, Any], accelerator: str) -> list[Any]:
    """Returns the precision plugin that the Trainer does not choose: fp16 with a gradient scaler on the CPU."""
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    if arguments.get("precision") != "16-mixed" or not on_cpu:
        return []
    del arguments["precision"]
    package = (imported_packages() or [import_package()])[0]
    plugin = package.plugins.MixedPrecision
    return [plugin("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]  # type: ignore[attr-defined]


def start_of(record: Bundle) -> tuple[int, dict[str, Any] | None]:
    """Returns the step to begin with, and the state before it: that of the bundle, or of the last checkpoint.

    A checkpoint is of use if all batches since are in the bundle. Without any state, the step of the bundle is run
    with the parameters that the model has.
    """
    state = state_of(record)
    if state is not None:
        return state["step"], state
    path = record.facts["state"]["checkpoint"]
    snapshot = None if path is None else checkpoint_state(path)
    steps = [batch["step"] for batch in record.batches]
    if snapshot is not None and snapshot.step in steps:
        return snapshot.step, snapshot.state
    return record.step, None


def reasons_of(
    record: Bundle,
    state: dict[str, Any] | None,
    raised: Exception | None,
    accelerator: str,
) -> list[str]:
    """Returns what may be a reason for other numbers than the training's."""
    facts = record.facts
    reasons = []
    if state is None:
        reasons.append("the bundle has no state, and the model's own was used")
    if any(batch["is_changed"] for batch in facts["batches"]):
        reasons.append("the training step changes its batch in place")
    if missing := left_out([record.batches, record.state]):
        reasons.append(
            f"the bundle could not hold objects of {', '.join(sorted(missing))}"
        )
    before = {**facts["versions"], "threads": facts["threads"]}
    current = {**versions(), "threads": torch.get_num_threads()}
    for name in sorted(
        before.keys() & current.keys() & {*COMPARED_VERSIONS, "threads"}
    ):
        if current[name] != before[name]:
            reasons.append(f"{name} is {current[name]}, and was {before[name]}")
    is_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    device = device_name(torch.device("cpu" if is_cpu else "cuda"))
    if device != facts["device"]:
        reasons.append(f"the device is {device}, and was {facts['device']}")
    if raised is not None:
        reasons.append(f"the step raised {type(raised).__name__}")
    return reasons
