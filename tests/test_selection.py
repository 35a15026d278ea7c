"""Which layers and parameters patterns choose, and what they are called."""

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from callbacks._selection import check_patterns, choose_layers, choose_params, named_params


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.ReLU())
        self.head = nn.Linear(3, 1, bias=False)


def test_activations_by_default() -> None:
    assert list(choose_layers(Model(), None)) == ["net.1", "net.3"]


def test_leaves_with_parameters_where_there_are_no_activations() -> None:
    assert list(choose_layers(nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.Flatten()), None)) == ["0.0"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["net.*"], ["net.0", "net.1", "net.2", "net.3"]),
        (["Linear"], ["net.0", "net.2", "head"]),
        (["Tanh", "head"], ["net.1", "head"]),
        (["net.[02]"], ["net.0", "net.2"]),
    ],
)
def test_patterns_match_names_and_classes(patterns: list[str], chosen: list[str]) -> None:
    assert list(choose_layers(Model(), patterns)) == chosen


def test_matrices_by_default() -> None:
    assert list(choose_params(Model(), None)) == ["net.0.weight", "net.2.weight", "head.weight"]
    assert list(choose_params(Model(), ["*.bias"])) == ["net.0.bias", "net.2.bias"]


def test_a_pattern_without_a_match_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"layers: no match for 'nett\.\*'; there are: net \(Sequential\), net\.0"):
        choose_layers(Model(), ["net.*", "nett.*"])
    with pytest.raises(ValueError, match=r"params: no match for 'x'; there are: net\.0\.weight, "):
        choose_params(Model(), ["x"])


@pytest.mark.parametrize("wrong", ["net.*", [], [1], [None]])
def test_refuses_what_is_no_list_of_patterns(wrong: object) -> None:
    with pytest.raises(ValueError, match="layers must be None or a list of patterns"):
        check_patterns("layers", wrong)  # type: ignore[arg-type]


def test_names_are_free_of_what_wrappers_insert() -> None:
    root = nn.Module()
    root.net = torch.compile(Model())  # type: ignore[assignment]
    root.parallel = nn.DataParallel(nn.Sequential(nn.Tanh()))
    root.module = nn.Sequential(nn.ReLU())  # a name of one's own stays
    assert list(choose_layers(root, None)) == ["net.net.1", "net.net.3", "parallel.0", "module.0"]
    assert "net.head.weight" in named_params(root)


def test_a_wrapper_is_what_it_wraps() -> None:
    root = nn.Sequential(nn.Linear(2, 2), checkpoint_wrapper(nn.Tanh()), checkpoint_wrapper(nn.Linear(2, 2)))
    assert list(choose_layers(root, None)) == ["1"]
    assert list(choose_layers(root, ["Tanh"])) == ["1"]
    assert list(choose_layers(root[2:], None)) == ["2"]  # without activations: leaves with parameters


def test_only_real_floating_point_parameters() -> None:
    root = nn.Linear(2, 2)
    root.spectrum = nn.Parameter(torch.randn(2, 2, dtype=torch.cfloat))
    root.packed = nn.Parameter(torch.ones(2, 2, dtype=torch.uint8), requires_grad=False)
    assert list(choose_params(root, None)) == ["weight"]
    assert "spectrum" in named_params(root)


def test_what_is_shared_stands_once() -> None:
    root = Model()
    root.again = root.head
    assert [name for name in named_params(root) if "head" in name or "again" in name] == ["head.weight"]
