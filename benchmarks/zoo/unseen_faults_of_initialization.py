"""Faults of initialization and architecture, on the unseen models."""

from torch import nn

from .breaks import (
    activate,
    append,
    draw,
    fill,
    map_output,
    remove,
    scale_weights,
    shift_bias,
)
from .cases import Sick
from .faults import fault
from .models import Model
from .unseen_breaks import draw_all, favor_first_class, without_skips, zero_all

ALL = ["", "net"]
"""Places of a fault of the whole network: its name, or that of any layer in it."""

SCALES = "activation_scale gradient_scale initial_loss"


@fault("mlp_pyramid exponential_decay mlp_wide", SCALES)
def weights_of_std_1(model: Model) -> Sick:
    return Sick([draw([*model.hidden, model.head], std=1)], ALL)


@fault("regression_quantiles regression_ordinal", SCALES)
def weights_of_std_5(model: Model) -> Sick:
    return Sick([draw([*model.hidden, model.head], std=5)], ALL)


@fault("mlp_narrow", "saturation")
def tanh_of_std_5(model: Model) -> Sick:
    places = [*model.hidden, *model.activations]
    return Sick([draw(model.hidden, std=5)], places)


@fault("highway", "saturation", silent=True)
def gates_that_stay_closed(_: Model) -> Sick:
    gates = [f"net.gates.{number}" for number in range(10)]
    breaks = [shift_bias(gate, by=-28) for gate in gates]
    return Sick(breaks, [*gates, "net.sigmoid"])


@fault("llama gpt_checkpointed", SCALES)
def transformer_of_std_1(_: Model) -> Sick:
    return Sick([draw_all(1, nn.Linear)], ALL)


@fault("llama gpt_checkpointed bilstm_tagger", f"{SCALES} saturation")
def embeddings_of_std_30(model: Model) -> Sick:
    name = "net.embedding" if model.name == "bilstm_tagger" else "net.tokens"
    return Sick([draw([name], std=30)], ALL)


@fault("mlp_wide exponential_decay cnn_groupnorm", "dead_units unmoved symmetry")
def everything_zero(_: Model) -> Sick:
    return Sick([zero_all], ALL)


@fault("mlp_mish_moons signs_by_lion regression_quantiles", "symmetry")
def everything_equal(model: Model) -> Sick:
    layers = [*model.hidden, model.head]
    return Sick([fill(*layers, value=0.05)], [*layers, *model.activations])


@fault("rezero_30 text_cnn cnn_groupnorm mlp_dropout_half", "initial_loss")
def head_of_std_10(model: Model) -> Sick:
    return Sick([draw([model.head], std=10)], ["", model.head])


@fault("mlp_pyramid mobilenet_v2 column_transformer", "initial_loss")
def head_favors_a_class(model: Model) -> Sick:
    return Sick([favor_first_class(25)], ["", model.head])


@fault("mlp_wide converged_long_ago exponential_decay", "dead_units")
def biases_far_below(model: Model) -> Sick:
    layer, activation = model.hidden[0], model.activations[0]
    return Sick([shift_bias(layer, by=-30)], [layer, activation])


@fault("cnn_groupnorm", "dead_units")
def norm_biases_far_below(_: Model) -> Sick:
    places = ["net.norm2", "net.act2", "net.conv2"]
    return Sick([shift_bias("net.norm2", by=-10)], places)


@fault("rezero_30", "activation_scale gradient_scale")
def thirty_layers_without_skips(_: Model) -> Sick:
    return Sick([without_skips], ALL)


@fault("siren", "activation_scale gradient_scale")
def siren_of_default_weights(model: Model) -> Sick:
    layers = [f"net.fc{number}" for number in (1, 2, 3)]
    return Sick([scale_weights(*layers, "net.head", by=20)], ALL)


@fault("mlp_narrow", "saturation unmoved")
def hard_sigmoids_off_range(model: Model) -> Sick:
    breaks = [activate(*model.activations, kind=nn.Hardsigmoid)]
    breaks.append(shift_bias(model.hidden[0], by=12))
    return Sick(breaks, [*model.hidden, *model.activations])


@fault("warm_restarts mlp_mish_moons mixture_density", "linear_stack")
def activations_forgotten(model: Model) -> Sick:
    places = ["", *model.hidden, model.head]
    return Sick([remove(*model.activations)], places)


@fault("mlp_dropout_half", "linear_stack", silent=True)
def dropout_for_activation(_: Model) -> Sick:
    places = ["", "net.fc1", "net.fc2", "net.head"]
    return Sick([remove("net.act1", "net.act2")], places)


@fault("deep_sets entity_embeddings", "linear_stack", silent=True)
def activation_forgotten(model: Model) -> Sick:
    inner = "net.sets" if model.name == "deep_sets" else "net.mlp"
    last = "fc1" if model.name == "deep_sets" else "fc2"
    places = [f"{inner}.{last}", f"{inner}.head"]
    return Sick([remove(f"{inner}.act{last[-1]}")], places)


@fault("mlp_wide cnn_groupnorm", "output_activation")
def relu_behind_head(model: Model) -> Sick:
    return Sick([append("relu", nn.ReLU)], ["", "net.relu", model.head])


@fault("cyclic_rate mlp_dropout_half", "output_activation")
def tanh_behind_head(model: Model) -> Sick:
    return Sick([append("squash", nn.Tanh)], ["", "net.squash", model.head])


@fault("mlp_pyramid column_transformer", "loss_input output_activation")
def sigmoid_before_cross_entropy(model: Model) -> Sick:
    return Sick([map_output(lambda x: x.sigmoid())], ["", model.head])
