"""Tests of the selection of layers and parameters by patterns, and of their clean names."""

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    checkpoint_wrapper,
)
from torch.nn.utils.parametrizations import weight_norm

import callbacks
from callbacks import choose_layers, choose_params
from callbacks.probe.selection import (
    check_matches,
    check_patterns,
    class_name,
    encodable,
    evenly_spread,
    named_layers,
    named_params,
)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.ReLU())
        self.head = nn.Linear(3, 1, bias=False)


def test_choices_are_public() -> None:
    assert {"choose_layers", "choose_params", "Histogram"} <= set(callbacks.__all__)


def test_activations_by_default() -> None:
    assert list(choose_layers(Model())) == ["net.1", "net.3"]


def test_leaves_with_parameters_where_there_are_no_activations() -> None:
    assert list(
        choose_layers(nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.Flatten()))
    ) == ["0.0"]


def test_a_parametrized_layer_is_a_leaf() -> None:
    assert list(
        choose_layers(nn.Sequential(weight_norm(nn.Linear(2, 2)), nn.Linear(2, 1)))
    ) == ["0", "1"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["net.*"], ["net.0", "net.1", "net.2", "net.3"]),
        (["Linear"], ["net.0", "net.2", "head"]),
        (["Tanh", "head"], ["net.1", "head"]),
        (["net.[02]"], ["net.0", "net.2"]),
    ],
)
def test_patterns_match_names_and_classes(
    patterns: list[str], chosen: list[str]
) -> None:
    assert list(choose_layers(Model(), patterns)) == chosen


def test_matrices_by_default() -> None:
    assert list(choose_params(Model())) == [
        "net.0.weight",
        "net.2.weight",
        "head.weight",
    ]
    assert list(choose_params(Model(), ["*.bias"])) == ["net.0.bias", "net.2.bias"]


def test_a_pattern_without_a_match_lists_all_names() -> None:
    with pytest.raises(
        ValueError,
        match=r"layers: no match for 'nett\.\*'; there are: net \(Sequential\), net\.0",
    ):
        choose_layers(Model(), ["net.*", "nett.*"])
    with pytest.raises(
        ValueError, match=r"params: no match for 'x'; there are: net\.0\.weight, "
    ):
        choose_params(Model(), ["x"])


def test_a_long_list_of_names_is_cut() -> None:
    with pytest.raises(
        ValueError,
        match=r"layers: no match for 'x'; there are: 0 \(Tanh\), .* and 10 more$",
    ):
        choose_layers(nn.Sequential(*(nn.Tanh() for _ in range(50))), ["x"])


def test_names_that_may_be_matched_later() -> None:
    check_matches({}, ["mlp.gelu"], "layers", more=["mlp.gelu"])
    with pytest.raises(ValueError, match=r"no match for 'mlp\.tanh'; there are: none"):
        check_matches({}, ["mlp.gelu", "mlp.tanh"], "layers", more=["mlp.gelu"])


@pytest.mark.parametrize("wrong", ["net.*", [], [1], [None]])
def test_refuses_what_is_no_list_of_patterns(wrong: object) -> None:
    with pytest.raises(ValueError, match="layers must be None or a list of patterns"):
        check_patterns("layers", wrong)  # type: ignore[arg-type]


def test_names_have_no_parts_that_wrappers_insert() -> None:
    root = nn.Module()
    root.net = torch.compile(Model())  # type: ignore[assignment]
    root.parallel = nn.DataParallel(nn.Sequential(nn.Tanh()))
    root.module = nn.Sequential(nn.ReLU())  # a name of the model's own stays
    assert list(choose_layers(root)) == [
        "net.net.1",
        "net.net.3",
        "parallel.0",
        "module.0",
    ]
    assert "net.head.weight" in named_params(root)


def test_a_wrapper_has_the_class_and_name_of_its_layer() -> None:
    root = nn.Sequential(
        nn.Linear(2, 2),
        checkpoint_wrapper(nn.Tanh()),
        checkpoint_wrapper(nn.Linear(2, 2)),
    )
    assert list(choose_layers(root)) == ["1"]
    assert list(choose_layers(root, ["Tanh"])) == ["1"]
    assert list(choose_layers(root[2:])) == [
        "2"
    ]  # without activations: leaves with parameters
    assert named_layers(root)["1"] is root[1]


def test_class_name_of_a_derived_class() -> None:
    assert class_name(weight_norm(nn.Linear(2, 2))) == "Linear"
    assert class_name(checkpoint_wrapper(nn.Tanh())) == "Tanh"


def test_only_real_floating_point_parameters() -> None:
    root = nn.Linear(2, 2)
    root.spectrum = nn.Parameter(torch.randn(2, 2, dtype=torch.cfloat))
    root.packed = nn.Parameter(torch.ones(2, 2, dtype=torch.uint8), requires_grad=False)
    assert list(choose_params(root)) == ["weight"]
    assert "spectrum" in named_params(root)


def test_a_lazy_parameter_is_chosen() -> None:
    assert list(choose_params(nn.LazyLinear(2))) == ["weight", "bias"]


def test_a_shared_layer_is_listed_once() -> None:
    root = Model()
    root.again = root.head
    assert [
        name for name in named_params(root) if "head" in name or "again" in name
    ] == ["head.weight"]


def test_names_can_be_encoded() -> None:
    assert encodable("h\u00e4") == "h\u00e4"
    root = nn.Module()
    for name in ("h\udc80", "h\udc81"):
        root.add_module(name, nn.Tanh())
    chosen = list(choose_layers(root))
    assert len(chosen) == 2
    assert all(name.encode("utf-8").startswith(b"h") for name in chosen)


@pytest.mark.parametrize(
    ("number", "most", "expected"),
    [
        (3, 5, [0, 1, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (9, 3, [0, 4, 8]),
        (100, 4, [0, 33, 66, 99]),
    ],
)
def test_evenly_spread(number: int, most: int, expected: list[int]) -> None:
    names = [str(index) for index in range(number)]
    assert evenly_spread(names, most) == [str(index) for index in expected]


@pytest.mark.parametrize("number", [65, 66, 100, 127, 128, 129, 1000])
def test_a_spread_has_no_name_twice(number: int) -> None:
    spread = evenly_spread([str(index) for index in range(number)], 64)
    assert len(set(spread)) == 64
    assert (spread[0], spread[-1]) == ("0", str(number - 1))
