"""Tests of what is read from the autograd graph of a loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.probe.loss_graph import shape_of
from callbacks.probe.structure import Structure, read_structure

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def read(
    net: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor | None = None
) -> tuple[Structure, dict[str, dict[str, Tensor]]]:
    """Reads the structure of a network, with the names of its activations."""
    nodes: dict[Any, str] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: nodes.update({output.grad_fn: name})

    for name, layer in net.named_modules():
        if isinstance(layer, nn.Tanh | nn.Sigmoid | nn.ReLU):
            layer.register_forward_hook(note(name))
    torch.manual_seed(0)
    x = torch.randn(6, 8) if x is None else x
    return read_structure(loss(net(x)), dict(net.named_parameters()), nodes)


def entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, LABELS)


def mlp(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5), *last)


def test_weights_that_are_copies_of_the_models() -> None:
    """FSDP2 computes with gathered copies; an activation before one is no activation of the output."""
    net, copied = mlp(), mlp()
    hidden = torch.tanh(copied[0](torch.randn(6, 8)))
    loss, nodes = entropy(copied[2](hidden)), {hidden.grad_fn: "1"}
    structure, _ = read_structure(loss, dict(net.named_parameters()), nodes)
    assert structure.output_layers == frozenset()
    stacked = net[2](nn.Linear(8, 16)(torch.randn(6, 8)))
    structure, _ = read_structure(entropy(stacked), dict(net.named_parameters()), {})
    assert structure.stacked == ()


class TestLossFunctions:
    def test_cross_entropy(self) -> None:
        structure, values = read(mlp(), entropy)
        (term,) = structure.terms
        assert (term.name, term.classes, term.activation) == ("cross_entropy", 5, None)
        assert term.is_normalized
        torch.manual_seed(0)
        assert float(values["cross_entropy"]["mass"].max()) == pytest.approx(1)

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize("factor", [1.0, 7.0])
    def test_the_value_is_the_mean_of_the_batch(
        self, reduction: str, factor: float
    ) -> None:
        net, x = mlp(), torch.randn(6, 8)
        _, values = read(
            net, lambda h: factor * F.cross_entropy(h, LABELS, reduction=reduction), x
        )
        expected = F.cross_entropy(net(x), LABELS)
        torch.testing.assert_close(values["cross_entropy"]["value"], expected)

    def test_ignored_labels(self) -> None:
        net, x = mlp(), torch.randn(6, 8)
        labels = torch.where(LABELS == 0, -100, LABELS)
        _, values = read(net, lambda h: F.cross_entropy(h, labels), x)
        expected = F.cross_entropy(net(x), labels)
        torch.testing.assert_close(values["cross_entropy"]["value"], expected)

    def test_two_losses(self) -> None:
        structure, _ = read(mlp(), lambda h: entropy(h) + 0.3 * h.square().mean())
        assert [term.name for term in structure.terms] == ["cross_entropy"]
        structure, _ = read(mlp(), lambda h: entropy(h) + entropy(2 * h))
        assert [term.name for term in structure.terms] == [
            "cross_entropy",
            "cross_entropy_1",
        ]

    def test_smoothed_labels(self) -> None:
        structure, _ = read(
            mlp(), lambda h: F.cross_entropy(h, LABELS, label_smoothing=0.1)
        )
        assert [term.classes for term in structure.terms] == [5]

    @pytest.mark.parametrize(
        "layer", [nn.Softmax(-1), nn.Sigmoid(), nn.ReLU(), nn.Tanh()]
    )
    def test_an_activation_before_it(self, layer: nn.Module) -> None:
        structure, _ = read(mlp(layer), entropy)
        (term,) = structure.terms
        assert str(term.activation).lower() == type(layer).__name__.lower()

    def test_through_views(self) -> None:
        structure, _ = read(
            mlp(nn.Softmax(-1)), lambda h: entropy(h[:, None].squeeze(1).T.T)
        )
        assert structure.terms[0].activation == "softmax"

    def test_raw_logits(self) -> None:
        structure, values = read(mlp(), lambda h: F.nll_loss(h, LABELS))
        assert not structure.terms[0].is_normalized
        assert float(values["cross_entropy"]["mass"].max()) > 2

    def test_binary(self) -> None:
        targets = torch.rand(6, 5)
        structure, values = read(
            mlp(nn.Sigmoid()), lambda h: F.binary_cross_entropy_with_logits(h, targets)
        )
        (term,) = structure.terms
        assert (term.classes, term.activation) == (2, "sigmoid")
        assert "value" in values[term.name]
        structure, _ = read(
            mlp(nn.Sigmoid()), lambda h: F.binary_cross_entropy(h, targets)
        )
        assert structure.output_layers == {"3"}

    def test_pixels(self) -> None:
        net = nn.Conv2d(1, 5, 1)
        labels = torch.randint(0, 5, (2, 4, 4))
        structure, values = read(
            net, lambda h: F.cross_entropy(h, labels), torch.randn(2, 1, 4, 4)
        )
        assert structure.terms[0].classes == 5
        assert values["cross_entropy"]["mass"].shape == (2, 4, 4)


class TestLayers:
    def test_output_layers(self) -> None:
        assert read(mlp(nn.Tanh()), entropy)[0].output_layers == {"3"}
        assert not read(mlp(), entropy)[0].output_layers

    def test_gates(self) -> None:
        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.gate, self.sigmoid = nn.Linear(8, 8), nn.Sigmoid()
                self.drop, self.head = nn.Dropout(), mlp()

            def forward(self, x: Tensor) -> Tensor:
                value = self.gate(x)
                return self.head(self.drop(self.sigmoid(value) * value))

        assert read(Gated(), entropy)[0].gates == {"sigmoid"}
        net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(), nn.Linear(16, 5))
        assert not read(net, entropy)[0].gates

    @pytest.mark.parametrize(
        "between",
        [[], [nn.Dropout()], [nn.Identity()], [nn.Unflatten(1, (4, 4)), nn.Flatten()]],
    )
    def test_stacked(self, between: list[nn.Module]) -> None:
        net = nn.Sequential(nn.Linear(8, 16), *between, nn.Linear(16, 5))
        pairs = (("0.weight", f"{len(between) + 1}.weight"),)
        assert read(net, entropy)[0].stacked == pairs

    @pytest.mark.parametrize(
        "net",
        [
            mlp(),
            nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 5)),
            nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 5)),
        ],
    )
    def test_not_stacked(self, net: nn.Module) -> None:
        assert not read(net, entropy)[0].stacked

    @pytest.mark.parametrize("is_residual", [True, False])
    def test_a_stem_before_a_residual_block_is_not_stacked(
        self, is_residual: bool
    ) -> None:
        class Residual(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.inner = nn.Linear(8, 16), nn.Linear(16, 16)
                self.head = nn.Linear(16, 5)

            def forward(self, x: Tensor) -> Tensor:
                stem = self.stem(x)
                branch = torch.tanh(self.inner(stem.flatten(1)))
                return self.head(stem + branch if is_residual else branch)

        pairs = () if is_residual else (("stem.weight", "inner.weight"),)
        assert read(Residual(), entropy)[0].stacked == pairs

    def test_a_trunk_of_two_heads_is_stacked(self) -> None:
        class Heads(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.trunk = nn.Linear(8, 16)
                self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
                self.head = nn.Linear(16, 5)

            def forward(self, x: Tensor) -> Tensor:
                trunk = self.trunk(x)
                return self.head(self.first(trunk).tanh() * self.second(trunk).tanh())

        pairs = {("trunk.weight", "first.weight"), ("trunk.weight", "second.weight")}
        assert set(read(Heads(), entropy)[0].stacked) == pairs

    def test_separable_convolutions_are_not_stacked(self) -> None:
        net = nn.Sequential(
            nn.Conv2d(4, 4, 3, groups=4),
            nn.Conv2d(4, 8, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
        assert not read(net, entropy, torch.randn(6, 4, 3, 3))[0].stacked

    def test_a_bias_that_a_residual_connection_sees(self) -> None:
        class Residual(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)
                self.head = nn.Linear(16, 5)

            def forward(self, x: Tensor) -> Tensor:
                stem = self.stem(x)
                return self.head(stem + self.norm(stem))

        assert not read(Residual(), entropy)[0].biases_before_norms

    def test_biases_before_norms(self) -> None:
        net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 5))
        assert read(net, entropy)[0].biases_before_norms == ("0.bias",)
        assert not read(net.eval(), entropy)[0].biases_before_norms

    def test_rows_that_are_normalized_over(self) -> None:
        net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 5))
        assert read(net, entropy)[0].normalized_rows == (("1", 6),)
        pixels = nn.Sequential(
            nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 5)
        )
        structure, _ = read(pixels, entropy, torch.randn(6, 4, 4, 4))
        assert structure.normalized_rows == (("1", 6),)

    def test_half_precision(self) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            structure, values = read(mlp(nn.ReLU()), entropy)
        assert structure.terms[0].activation == "ReLU"
        assert "value" in values["cross_entropy"]


class Angles(nn.Module):
    """Classes by the angle between features and their directions, with a margin."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.directions = nn.Linear(8, 16), nn.Parameter(torch.randn(5, 16))

    def forward(self, x: Tensor) -> Tensor:
        features = F.normalize(self.body(x))
        return 30 * (features @ F.normalize(self.directions).T - 0.2)


class Pairs(nn.Module):
    """Similarities of all pairs of examples, as of a contrastive loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        first = self.body(x)
        return first @ self.body(x + 0.1).T / 0.07


class OwnWeight(nn.Module):
    """A head that multiplies by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(8, 5)),
            nn.Parameter(torch.zeros(5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x.requires_grad_() @ self.weight + self.bias) / 2


class TestLogits:
    @pytest.mark.parametrize("net", [Angles(), Pairs()])
    def test_similarities_are_not_those_of_classes(self, net: nn.Module) -> None:
        assert read(net, entropy)[0].terms[0].classes is None

    @pytest.mark.parametrize(
        "net",
        [
            mlp(),
            OwnWeight(),
            nn.Sequential(mlp(), nn.BatchNorm1d(5)),
            nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 5, 8), nn.Flatten()),
        ],
    )
    def test_those_of_classes(self, net: nn.Module) -> None:
        assert read(net, entropy)[0].terms[0].classes == 5


@pytest.mark.parametrize("loss", [F.mse_loss, F.smooth_l1_loss, F.huber_loss])
def test_outputs_that_are_compared_with_several_targets(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    net = nn.Sequential(nn.Linear(8, 1))
    with pytest.warns(UserWarning, match="different"):
        structure, _ = read(net, lambda y: loss(y, torch.randn(6)))
    assert structure.terms[0].is_broadcast
    structure, values = read(net, lambda y: loss(y.squeeze(-1), torch.randn(6)))
    assert not structure.terms[0].is_broadcast
    assert values[structure.terms[0].name]["value"] > 0


def pairs(y: Tensor) -> Tensor:
    return (y.unsqueeze(1) - torch.randn(6)).square().mean()


TARGETS = torch.arange(6.0)


@pytest.mark.skipif(
    not hasattr(torch.ones(1, requires_grad=True).sum().grad_fn, "_input_metadata"),
    reason="this PyTorch does not tell the shapes of a graph",
)
@pytest.mark.parametrize(
    ("loss", "is_crossed"),
    [
        (lambda y: (y - TARGETS).square().mean(), True),
        (lambda y: (TARGETS - y).abs().mean(), True),
        (lambda y: (y[:, 0] - TARGETS).square().mean(), False),
        (lambda y: (y - TARGETS[:, None]).square().mean(), False),
        (lambda y: (y - torch.randn(9)).square().mean(), False),  # quantiles
        (lambda y: (y[:, 0] - y).square().mean(), False),  # all pairs of outputs
        (lambda y: pairs(y[:, 0]), False),
        (lambda y: y.mean() - 1, False),
    ],
)
def test_a_difference_that_is_written_by_hand(
    loss: Callable[[Tensor], Tensor], is_crossed: bool
) -> None:
    structure, _ = read(nn.Sequential(nn.Linear(8, 1)), loss)
    assert any(term.is_broadcast for term in structure.terms) == is_crossed


def test_the_shape_of_a_result_is_unknown_to_an_older_pytorch() -> None:
    class Node:
        next_functions = ()

    assert shape_of(Node()) == ()  # type: ignore[arg-type]


def test_targets_of_a_regression_are_measured() -> None:
    _, values = read(nn.Linear(8, 1), lambda y: F.mse_loss(y[:, 0], TARGETS))
    assert values["mse_loss"]["targets"].equal(TARGETS)


def test_parameters_that_are_none_of_the_models() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(8, 8), nn.Linear(8, 8)]
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return self.head(x)

    shapes = [shape for _, shape in read(Hidden(), entropy)[0].unregistered]
    assert sorted(shapes) == [(8,), (8,), (8, 8), (8, 8)]
    x = torch.randn(6, 8, requires_grad=True)  # an input with a gradient is none
    assert not read(mlp(), entropy, x)[0].unregistered
