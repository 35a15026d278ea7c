"""Tests of display names: each stands for one layer, output or function."""

import pytest

from callbacks.probe.names import DisplayNames, Origin


@pytest.fixture
def names() -> DisplayNames:
    return DisplayNames()


def test_plain_names(names: DisplayNames) -> None:
    assert names.of_output("net.1", "") == "net.1"
    assert names.of_output("lstm", ".1.0") == "lstm.1.0"
    assert names.of_function("mlp", "gelu", 0, "GELU") == "mlp.gelu"
    assert names.of_function("mlp", "gelu", 2, "GELU") == "mlp.gelu_2"
    assert names.of_function("", "tanh", 0, "Tanh") == "tanh"


def test_the_same_name_every_time(names: DisplayNames) -> None:
    first = [
        names.of_output("lstm", ".0"),
        names.of_function("lstm", "tanh", 1, "Tanh"),
    ]
    assert [
        names.of_output("lstm", ".0"),
        names.of_function("lstm", "tanh", 1, "Tanh"),
    ] == first
    assert len(names.origins) == 2


def test_an_outputs_path_and_a_childs_name(names: DisplayNames) -> None:
    """The first output of `encoder`, a tuple, beside a child that is called "0"."""
    names.reserve(["encoder", "encoder.0"])
    assert names.of_output("encoder", ".0") == "encoder[0]"
    assert names.of_output("encoder.0", "") == "encoder.0"
    assert names.of_output("encoder", ".1") == "encoder.1"


def test_a_function_and_a_child_of_one_name(names: DisplayNames) -> None:
    names.reserve(["mlp", "mlp.gelu", "relu"])
    assert names.of_function("mlp", "gelu", 0, "GELU") == "mlp[gelu]"
    assert names.of_output("mlp.gelu", "") == "mlp.gelu"
    assert names.of_function("mlp", "gelu", 1, "GELU") == "mlp.gelu_1"
    assert names.of_function("", "relu", 0, "ReLU") == "[relu]"


def test_a_function_and_an_outputs_path_of_one_name(names: DisplayNames) -> None:
    """A dict output with a member "tanh" of a module that calls torch.tanh."""
    assert names.of_output("cell", ".tanh") == "cell.tanh"
    assert names.of_function("cell", "tanh", 0, "Tanh") == "cell[tanh]"


def test_brackets_that_exist_already(names: DisplayNames) -> None:
    names.reserve(["cell", "cell.tanh", "cell[tanh]"])
    assert names.of_function("cell", "tanh", 0, "Tanh") == "cell[tanh]'"
    assert names.of_output("cell[tanh]", "") == "cell[tanh]"


def test_names_are_unique_and_have_an_origin(names: DisplayNames) -> None:
    layers = ["a", "a.b", "a.b.relu", "a[b]"]
    names.reserve(layers)
    display_names = [
        names.of_output(layer, path)
        for layer in layers
        for path in ("", ".b", ".relu", ".b.relu")
    ]
    display_names += [
        names.of_function(layer, "relu", number, "ReLU")
        for layer in layers
        for number in range(3)
    ]
    assert len(set(display_names)) == len(display_names) == len(names.origins)
    assert names.origins["a.b"] == Origin("a.b")
    assert set(layers) <= set(display_names)


def test_names_can_be_encoded(names: DisplayNames) -> None:
    """A lone surrogate in one name would end TensorBoard's file for all."""
    displayed = [
        names.of_output("net", f".h{surrogate}") for surrogate in "\udc80\udc81"
    ]
    assert len(set(displayed)) == 2
    assert all(name.encode("utf-8").startswith(b"net") for name in displayed)
