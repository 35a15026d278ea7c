"""Microseconds a training step: the notes' raw loop, a minimal Lightning module, and `train.py fit`.

    python benchmarks/training_speed.py                 four cases, five interleaved rounds, about six minutes
    python benchmarks/training_speed.py --pieces        also `fit` with one optimization after another undone
    python benchmarks/training_speed.py --cases cd --steps 50000        cost of the instruments in a longer run
    python benchmarks/training_speed.py --rounds 1 --steps 100        a quick trial

All cases train the network of configs/kaiming.yaml on the embedded names, on one thread. Progress bars write to a
pseudo-terminal. `fit` is timed from `on_train_start` to `on_train_end`, with its checkpoints and one validation.
"""

import argparse
import contextlib
import inspect
import logging
import os
import pty
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch import (
    Callback,
    LightningDataModule,
    LightningModule,
    Trainer,
    seed_everything,
)
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import PassThroughProfiler
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The configs name the classes of callbacks, which must have been imported.
import callbacks as instruments  # noqa: E402, F401
from makemore_lightning import MLP, MakemoreModule, NamesDataModule, cli  # noqa: E402
from makemore_lightning.batches import Windows  # noqa: E402
from makemore_lightning.loop_overhead import LowOverheadModule  # noqa: E402

SEED = 2147483647
Measurement = Callable[[int, str], float]
"""Trains for a number of steps with a folder for logs, and returns microseconds a step."""


class Stopwatch(Callback):
    """Measures the seconds from the first batch to the end of training."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


def training_windows() -> Windows:
    data = NamesDataModule()
    data.setup("fit")
    return data.windows("train")


# (a)


def raw_loop(steps: int, folder: str) -> float:
    """The notes' loop, unchanged: explicit tensors, no modules, no optimizer."""
    x_train, y_train = training_windows()
    g = torch.Generator().manual_seed(SEED)
    c = torch.randn((27, 10), generator=g)
    w1 = torch.randn((30, 200), generator=g) * (5 / 3) / 30**0.5
    b1 = torch.randn(200, generator=g) * 0.01
    w2 = torch.randn((200, 27), generator=g) * 0.01
    b2 = torch.randn(27, generator=g) * 0
    parameters = [c, w1, b1, w2, b2]
    for p in parameters:
        p.requires_grad = True
    losses = []
    start = time.perf_counter()
    for i in range(steps):
        ix = torch.randint(0, x_train.shape[0], (32,), generator=g)
        xb, yb = x_train[ix], y_train[ix]
        emb = c[xb]
        hpreact = emb.view(emb.shape[0], -1) @ w1 + b1
        h = torch.tanh(hpreact)
        logits = h @ w2 + b2
        loss = F.cross_entropy(logits, yb)
        for p in parameters:
            p.grad = None
        loss.backward()
        lr = 0.1 if i < steps // 2 else 0.01
        for p in parameters:
            assert p.grad is not None
            p.data -= lr * p.grad
        losses.append(loss.item())
    return (time.perf_counter() - start) / steps * 1e6


# (b)


class FirstModule(LightningModule):
    """A LightningModule in the style of the tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MLP(27, 3)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        contexts, targets = batch
        loss = F.cross_entropy(self.network(contexts), targets)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def first_lightning(steps: int, folder: str) -> float:
    """Minimal use of Lightning; without validation, which makes this case faster."""
    seed_everything(SEED, verbose=False)
    loader = DataLoader(TensorDataset(*training_windows()), batch_size=32, shuffle=True)
    stopwatch = Stopwatch()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=TensorBoardLogger(folder),
        callbacks=[stopwatch],
        enable_model_summary=False,
    )
    trainer.fit(FirstModule(), loader)
    return stopwatch.seconds / steps * 1e6


# (c)


INSTRUMENTS = {"ActivationHistogram", "GradStats", "UpdateRatio", "SaturationMap"}


def fit_with_instruments(steps: int, folder: str) -> float:
    """`python train.py fit --config configs/kaiming.yaml`, with the instruments of the config."""
    return fit(steps, folder, config=ROOT / "configs" / "kaiming.yaml")


def config_without_instruments(folder: str) -> Path:
    """Writes the config without its instruments to a folder and returns the path."""
    config = yaml.safe_load((ROOT / "configs" / "kaiming.yaml").read_text())
    trainer = config["trainer"]
    trainer["callbacks"] = [
        entry
        for entry in trainer["callbacks"]
        if entry["class_path"] not in INSTRUMENTS
    ]
    path = Path(folder) / "without_instruments.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def fit(
    steps: int,
    folder: str,
    *options: str,
    callbacks: list[Callback] | None = None,
    config: Path | None = None,
) -> float:
    """`train.py fit` with a config, by default kaiming.yaml without instruments; validates once, at the end."""
    stopwatch = Stopwatch()
    config = config or config_without_instruments(folder)
    arguments = ["fit", f"--config={config}", f"--trainer.max_steps={steps}"]
    # As in 200 000 steps: a short run would be validated as often as a long one.
    arguments += ["--trainer.val_check_interval=20000"]
    arguments += [
        f"--trainer.logger.init_args.save_dir={folder}",
        "--trainer.enable_model_summary=false",
        *options,
    ]
    cli.make_cli(arguments, callbacks=[stopwatch, *(callbacks or [])])
    return stopwatch.seconds / steps * 1e6


# (c) with one optimization undone


def logging_every_step(steps: int, folder: str) -> float:
    return fit(steps, folder, "--trainer.log_every_n_steps=1")


@contextlib.contextmanager
def replaced_training_step(step: Any) -> Iterator[None]:
    """Replaces the training step of MakemoreModule; with a cached signature, as in LowOverheadModule."""
    step.__signature__ = inspect.signature(step)
    with mock.patch.object(MakemoreModule, "training_step", step):
        yield


def with_self_log(steps: int, folder: str) -> float:
    def training_step(self: MakemoreModule, batch: Any, batch_idx: int) -> torch.Tensor:
        contexts, targets = batch
        loss = F.cross_entropy(self.network(contexts), targets)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    with replaced_training_step(training_step):
        return fit(steps, folder)


def with_lightnings_bar(steps: int, folder: str) -> float:
    with mock.patch.object(cli, "StepProgress", RichProgressBar):
        return fit(steps, folder)


def with_lightnings_profiler(steps: int, folder: str) -> float:
    with mock.patch.object(cli, "NullProfiler", PassThroughProfiler):
        return fit(steps, folder)


def with_lightnings_setattr(steps: int, folder: str) -> float:
    with mock.patch.object(
        LowOverheadModule, "__setattr__", LightningModule.__setattr__
    ):
        return fit(steps, folder)


def with_lightnings_zero_grad(steps: int, folder: str) -> float:
    with mock.patch.object(
        LowOverheadModule, "optimizer_zero_grad", LightningModule.optimizer_zero_grad
    ):
        return fit(steps, folder)


def with_lightnings_transfer(steps: int, folder: str) -> float:
    with mock.patch.object(
        NamesDataModule,
        "transfer_batch_to_device",
        LightningDataModule.transfer_batch_to_device,
    ):
        return fit(steps, folder)


def without_signature(steps: int, folder: str) -> float:
    signature = MakemoreModule.training_step.__signature__  # type: ignore[attr-defined]
    del MakemoreModule.training_step.__signature__  # type: ignore[attr-defined]
    try:
        return fit(steps, folder)
    finally:
        MakemoreModule.training_step.__signature__ = signature  # type: ignore[attr-defined]


def with_data_loader(steps: int, folder: str) -> float:
    def loader(self: NamesDataModule) -> Any:
        return DataLoader(
            TensorDataset(*self.windows("train")), batch_size=32, shuffle=True
        )

    with mock.patch.object(NamesDataModule, "train_dataloader", loader):
        return fit(steps, folder)


def without_schedule(steps: int, folder: str) -> float:
    def configure_optimizers(self: MakemoreModule) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    with mock.patch.object(
        MakemoreModule, "configure_optimizers", configure_optimizers
    ):
        return fit(steps, folder)


def with_fused_sgd(steps: int, folder: str) -> float:
    return fit(steps, folder, "--model.optimizer.init_args.fused=true")


def with_manual_optimization(steps: int, folder: str) -> float:
    original_step = MakemoreModule.training_step

    def training_step(self: MakemoreModule, batch: Any, batch_idx: int) -> None:
        loss = original_step(self, batch, batch_idx)
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        self.manual_backward(loss)
        optimizer.step()  # type: ignore[union-attr]
        scheduler.step()  # type: ignore[union-attr]

    with (
        replaced_training_step(training_step),
        mock.patch.object(MakemoreModule, "automatic_optimization", False),
    ):
        return fit(steps, folder)


MAIN: dict[str, Measurement] = {
    "(a) the notes' raw loop": raw_loop,
    "(b) Lightning as first written": first_lightning,
    "(c) our fit, no instruments": fit,
    "(d) our fit, as configured": fit_with_instruments,
}
PIECES: dict[str, Measurement] = {
    "(c) with self.log every step": with_self_log,
    "(c) with DataLoader and TensorDataset, batches as lists": with_data_loader,
    "(c) with Lightning's RichProgressBar": with_lightnings_bar,
    "(c) with Lightning's own profiler": with_lightnings_profiler,
    "(c) with nn.Module's __setattr__": with_lightnings_setattr,
    "(c) with Lightning's zero_grad": with_lightnings_zero_grad,
    "(c) with Lightning's batch transfer": with_lightnings_transfer,
    "(c) without the cached signature": without_signature,
    "(c) logging every step": logging_every_step,
    "(c) without a schedule": without_schedule,
    "(c) with SGD(fused=True)": with_fused_sgd,
    "(c) with manual optimization": with_manual_optimization,
}


@contextlib.contextmanager
def pseudo_terminal() -> Iterator[None]:
    """Redirects standard output to a pseudo-terminal, so that progress bars render as in interactive use."""
    reading_end, terminal = pty.openpty()
    reader = threading.Thread(target=_drain, args=(reading_end,), daemon=True)
    reader.start()
    sys.stdout.flush()
    original_stdout = os.dup(1)
    os.dup2(terminal, 1)
    try:
        with mock.patch.dict(os.environ, {"COLUMNS": "120", "TTY_COMPATIBLE": "1"}):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(original_stdout, 1)
        for descriptor in (original_stdout, terminal):
            os.close(descriptor)


def _drain(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 65_536):
            pass


def measure(
    cases: dict[str, Measurement], rounds: int, steps: int
) -> dict[str, list[float]]:
    """Runs every case once a round, so that slow periods of the machine affect all cases alike."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(rounds):
        for name, case in cases.items():
            with tempfile.TemporaryDirectory() as folder, pseudo_terminal():
                times[name].append(case(steps, folder))
        print(f"round {round_ + 1} of {rounds}", file=sys.stderr)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps",
        type=int,
        default=10_000,
        help="steps a case and round; all are validated at the end",
    )
    parser.add_argument(
        "--pieces", action="store_true", help="also measure each optimization"
    )
    parser.add_argument(
        "--cases", default="abcd", help="letters of the four cases; (a) always runs"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    sys.argv = sys.argv[:1]  # LightningCLI warns if both args and sys.argv are given

    main_cases = {
        name: case for name, case in MAIN.items() if name[1] in f"a{options.cases}"
    }
    times = measure(
        main_cases | PIECES if options.pieces else main_cases,
        options.rounds,
        options.steps,
    )
    raw = times["(a) the notes' raw loop"]
    table = Table("", "us a step", "x (a)", "min", "max", "fastest, us", "x (a)")
    for name, values in times.items():
        ratios = [value / base for value, base in zip(values, raw, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(values):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f}",
            f"{max(ratios):.2f}",
            f"{min(values):.0f}",
            f"{min(values) / min(raw):.2f}",
        )
    caption = (
        f"medians of {options.rounds} rounds of {options.steps} steps, ratios within a round; on the right the fastest "
        "round of each, which other load on the machine affects least; one thread"
    )
    Console(width=110).print(table, caption)


if __name__ == "__main__":
    main()
