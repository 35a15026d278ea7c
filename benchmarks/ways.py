"""Ways of observing a training: the callbacks of this project, and what else there is."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from callbacks import (
    ActivationHistogram,
    FlightRecorder,
    GradStats,
    NumberRange,
    SaturationMap,
    UpdateRatio,
    choose_layers,
    choose_params,
)
from callbacks.diagnose import SilentHealthCheck as HealthCheck


class Peer(Callback):
    """Another way, at the same layers and parameters as the callbacks by default."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.outputs: dict[str, Tensor] = {}
        layers = choose_layers(pl_module)
        self.handles = [
            layer.register_forward_hook(self.keep(name))
            for name, layer in layers.items()
        ]
        self.params = choose_params(pl_module)

    def keep(self, name: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.retain_grad()
            self.outputs[name] = output

        return hook

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yields outputs, their gradients, parameters and their gradients, by tag."""
        for name, output in self.outputs.items():
            yield f"activation/{name}", output.detach()
            if output.grad is not None:
                yield f"activation_grad/{name}", output.grad
        for name, param in self.params.items():
            yield f"weight/{name}", param.detach()
            if param.grad is not None:
                yield f"weight_grad/{name}", param.grad


class Bolts(Peer):
    """Whole tensors through `SummaryWriter.add_histogram`, as pl_bolts' ModuleDataMonitor does."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any
    ) -> None:
        for tag, tensor in self.tensors():
            trainer.logger.experiment.add_histogram(tag, tensor, trainer.global_step)  # type: ignore[union-attr]


class Lecture(Peer):
    """The lecture's own way: numbers by `.item()`, curves by matplotlib."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any
    ) -> None:
        figure = Figure()
        axes = figure.add_subplot()
        legend = []
        for tag, tensor in self.tensors():
            legend.append(f"{tag} {tensor.mean().item():.2f} {tensor.std().item():.2f}")
            legend[-1] += f" {(tensor.abs() > 0.97).float().mean().item():.2f}"
            density, edges = torch.histogram(
                tensor.float().flatten(), bins=100, density=True
            )
            axes.plot(edges[:-1].tolist(), density.tolist())
        axes.legend(legend)
        FigureCanvasAgg(figure).draw()


class WandbWatch(Callback):
    """`wandb.watch(log="all")`, offline."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        import wandb

        self.run = wandb.init(
            mode="offline",
            dir=trainer.default_root_dir,
            settings=wandb.Settings(silent=True),
        )
        self.run.watch(pl_module.net, log="all", log_freq=1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any
    ) -> None:
        self.run.log({"step": trainer.global_step})

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.run.unwatch(pl_module.net)
        self.run.finish()


ALL = (ActivationHistogram, GradStats, UpdateRatio, SaturationMap)


def ours(*kinds: Any) -> Callable[[], list[Callback]]:
    """Callbacks of this project at every step, without pictures, which are drawn more and more rarely."""
    return lambda: [kind(every_n_steps=1, figures=False) for kind in kinds]


WAYS: dict[str, Callable[[], list[Callback]]] = {
    "bare": list,
    "ours, all four": ours(*ALL),
    "ours, not due": lambda: [
        kind(every_n_steps=10**9, dense_start=False, figures=False) for kind in ALL
    ],
    "ours, and HealthCheck": ours(*ALL, HealthCheck),
    "HealthCheck": ours(HealthCheck),
    "a callback that does nothing": lambda: [Callback()],
    "FlightRecorder": lambda: [FlightRecorder(figures=False)],
    "HealthCheck, not due": lambda: [
        HealthCheck(every_n_steps=10**9, dense_start=False, figures=False)
    ],
    "ActivationHistogram": ours(ActivationHistogram),
    "GradStats": ours(GradStats),
    "UpdateRatio": ours(UpdateRatio),
    "SaturationMap": ours(SaturationMap),
    "NumberRange": ours(NumberRange),
    "ours, and NumberRange": ours(*ALL, NumberRange),
    "add_histogram (bolts)": lambda: [Bolts()],
    "wandb.watch": lambda: [WandbWatch()],
    "the lecture's way": lambda: [Lecture()],
}
