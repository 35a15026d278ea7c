"""Faults of initialization and architecture."""

from typing import Any

import torch.nn.functional as F
from torch import nn

from makemore_lightning import MakemoreModule

from .breaks import (
    Break,
    activate,
    append,
    draw,
    evaluate,
    evaluate_all,
    fill,
    freeze_scale,
    map_output,
    remove,
    scale_all,
    scale_weights,
    shift_bias,
    swap_loss,
)
from .cases import Sick
from .faults import fault
from .models import Model
from .training import Training


@fault("mlp_tanh cnn_relu mlp_kaiming class_weights", "initial_loss")
def head_too_large(model: Model) -> Sick:
    return Sick([scale_weights(model.head, by=120)], ["", model.head])


@fault("gpt_tied transformer_encoder gpt_untied gru_characters", "initial_loss")
def head_too_large_in_sequences(model: Model) -> Sick:
    by = 60 if model.name.startswith("gpt") else 100
    return Sick([scale_weights(model.head, by=by)], ["", model.head, "net.tokens"])


def makemore(**options: Any) -> Break:
    """Takes makemore's network with other arguments."""

    def change(training: Training) -> None:
        training.module = MakemoreModule(**options)

    return change


@fault("makemore_kaiming makemore_tanh", "initial_loss saturation")
def makemore_naive(_: Model) -> Sick:
    places = ["", "network.head", "network.hidden.tanh0", "network.hidden.linear0"]
    return Sick([makemore(init="naive")], places)


@fault("makemore_kaiming makemore_tanh", "saturation", silent=True)
def makemore_logits(_: Model) -> Sick:
    places = ["network.hidden.tanh0", "network.hidden.linear0"]
    return Sick([makemore(init="logits")], places)


@fault("mlp_tanh deep_tanh cnn_tanh mlp_tanh_spirals", "saturation")
def saturated_tanh(model: Model) -> Sick:
    places = [*model.activations, *model.hidden]
    return Sick([scale_weights(*model.hidden, by=30)], places)


@fault("mlp_sigmoid_wine mlp_sigmoid", "saturation")
def saturated_sigmoid(model: Model) -> Sick:
    places = [*model.activations, *model.hidden]
    return Sick([scale_weights(*model.hidden, by=60)], places)


@fault("mlp_relu cnn_relu mlp_kaiming clipping_sgd", "dead_units")
def dead_relu(model: Model) -> Sick:
    places = [model.hidden[1], model.activations[1]]
    return Sick([shift_bias(model.hidden[1], by=-20)], places)


@fault("deep_tanh deep_relu", "activation_scale gradient_scale")
def weights_too_small(model: Model) -> Sick:
    places = ["", *model.hidden, *model.activations, model.head]
    return Sick([scale_weights(*model.hidden, by=0.15)], places)


@fault(
    "mlp_leaky mlp_relu deep_relu mlp_kaiming",
    "activation_scale gradient_scale initial_loss",
)
def weights_too_large(model: Model) -> Sick:
    places = ["", *model.hidden, *model.activations, model.head]
    by = 3 if len(model.hidden) > 2 else 20
    return Sick([scale_weights(*model.hidden, by=by)], places)


@fault("mlp_tanh mlp_leaky mlp_kaiming mlp_elu", "symmetry")
def constant_weights(model: Model) -> Sick:
    places = [*model.hidden, *model.activations]
    return Sick([fill(*model.hidden, value=0.01)], places)


@fault("mlp_relu cnn_relu mlp_kaiming clipping_sgd", "dead_units unmoved symmetry")
def zero_weights(model: Model) -> Sick:
    layer, activation = model.hidden[1], model.activations[1]
    return Sick([fill(layer, value=0)], ["", layer, activation])


@fault("deep_tanh deep_relu", "activation_scale gradient_scale uneven_learning")
def deep_sigmoid(model: Model) -> Sick:
    places = ["", *model.hidden, *model.activations, model.head]
    return Sick([activate(*model.activations, kind=nn.Sigmoid)], places)


@fault("residual_relu residual_gelu", "activation_scale gradient_scale initial_loss")
def residual_explodes(_: Model) -> Sick:
    places = ["", "net.head", "net.stem"]
    for number in range(8):
        inner = f"net.blocks.{number}"
        places += [inner, f"{inner}.fc1", f"{inner}.act1", f"{inner}.head"]
    return Sick([freeze_scale, scale_all(3, (nn.Linear,))], places)


@fault("segmentation mlp_relu_spirals mlp_tanh_spirals", "linear_stack")
def no_activations(model: Model) -> Sick:
    places = ["", *model.hidden, model.head]
    return Sick([remove(*model.activations)], places)


@fault("mlp_relu lstm mlp_tanh_spirals temporal_convolutions", "loss_input")
def softmax_before_cross_entropy(model: Model) -> Sick:
    return Sick([map_output(lambda x: x.softmax(-1))], ["", model.head])


@fault("mlp_batchnorm mlp_elu", "loss_input")
def softmax_layer(model: Model) -> Sick:
    places = ["", "net.softmax", model.head]
    return Sick([append("softmax", lambda: nn.Softmax(-1))], places)


@fault("mlp_relu mlp_relu_spirals", "loss_input")
def logits_into_nll(model: Model) -> Sick:
    return Sick([swap_loss(F.nll_loss)], ["", model.head])


@fault("binary_cancer imbalanced_bce", "loss_input")
def sigmoid_before_logits(model: Model) -> Sick:
    places = ["", "net.sigmoid", model.head]
    return Sick([append("sigmoid", nn.Sigmoid)], places)


@fault("cnn_relu deep_tanh mlp_dropout mlp_kaiming", "output_activation")
def relu_on_logits(model: Model) -> Sick:
    return Sick([append("relu", nn.ReLU)], ["", "net.relu", model.head])


@fault("mlp_relu cnn_relu mlp_relu_spirals cnn_tanh", "output_activation")
def tanh_on_logits(model: Model) -> Sick:
    return Sick([append("tanh", nn.Tanh)], ["", "net.tanh", model.head])


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


MODE = "eval_mode batchnorm"


@fault("mlp_batchnorm resnet_zero_gamma vgg_batchnorm_dropout", MODE, True)
def batchnorm_in_eval(model: Model) -> Sick:
    places = ["", "net.norm1", "net.norm2", "net.norm3", "net.norm4", "net.stem_norm"]
    blocks = [f"net.block{number}" for number in range(1, 4)]
    return Sick([evaluate(NORMS)], places + blocks)


@fault("transformer_encoder mlp_dropout vgg_batchnorm_dropout", "eval_mode", True)
def dropout_in_eval(model: Model) -> Sick:
    places = ["", "net.encoder", "net.drop", "net.drop1", "net.drop2"]
    return Sick([evaluate((nn.Dropout,))], places)


@fault("transformer_encoder mlp_dropout", "eval_mode", True)
def network_in_eval(model: Model) -> Sick:
    places = ["", "net.encoder", "net.drop1", "net.drop2"]
    return Sick([evaluate_all], places)


@fault("autoencoder_sigmoid autoencoder_bce", "activation_scale saturation dead_units")
def standard_normal(model: Model) -> Sick:
    places = ["", *model.hidden, *model.activations, model.head, "net.out"]
    return Sick([draw([*model.hidden, model.head], std=2)], places)
