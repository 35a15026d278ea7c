"""Faults that make a NaN or an infinity at a known step, in a known layer."""

import torch

from .breaks_of_numbers import (
    arccos_at_one,
    exp_overflow,
    log_of_negative,
    norm_of_zero,
    sqrt_at_zero,
    trap,
    zero_by_zero,
)
from .breaks_of_training import nan_in_batch, spike
from .cases import Sick
from .faults import fault
from .models import Model

BATCH = ["", "input", "batch"]
"""Names for a batch; its first layer is added."""


@fault("mlp_relu cnn_relu mlp_kaiming cnn_tanh", "nonfinite", nan_steps=[137])
def nan_in_inputs(model: Model) -> Sick:
    return Sick([nan_in_batch(137)], [*BATCH, model.hidden[0]])


@fault("mlp_tanh mlp_relu_spirals", "nonfinite", nan_steps=[0])
def inf_in_first_batch(model: Model) -> Sick:
    return Sick([nan_in_batch(0, torch.inf)], [*BATCH, model.hidden[0]])


@fault("mlp_tanh segmentation mlp_kaiming", "nonfinite", nan_steps=[111])
def log_of_a_negative(model: Model) -> Sick:
    place = model.activations[-1]
    return Sick([trap(place, log_of_negative, 111)], [place])


@fault("mlp_relu mlp_elu", "nonfinite", nan_steps=[203])
def division_by_zero(model: Model) -> Sick:
    place = model.hidden[1]
    return Sick([trap(place, zero_by_zero, 203)], [place])


@fault("deep_tanh mlp_tanh_spirals", "nonfinite", nan_steps=[77])
def exp_overflows(model: Model) -> Sick:
    place = model.activations[1]
    return Sick([trap(place, exp_overflow, 77)], [place])


@fault("mlp_leaky cnn_relu mlp_relu_spirals", "nonfinite", nan_steps=[149])
def sqrt_in_backward(model: Model) -> Sick:
    place = model.activations[1]
    return Sick([trap(place, sqrt_at_zero, 149)], [place])


@fault("mlp_tanh mlp_kaiming", "nonfinite", nan_steps=[90])
def norm_in_backward(model: Model) -> Sick:
    place = model.hidden[0]
    return Sick([trap(place, norm_of_zero, 90)], [place])


@fault("deep_tanh mlp_elu", "nonfinite", nan_steps=[261])
def arccos_in_backward(model: Model) -> Sick:
    place = model.activations[1]
    return Sick([trap(place, arccos_at_one, 261)], [place])


@fault("mlp_relu mlp_relu_spirals", "nonfinite", nan_steps=[120, 121])
def spike_of_the_rate(model: Model) -> Sick:
    places = [*model.hidden, *model.activations, model.head, ""]
    return Sick([spike(120, 1e36)], places)


@fault("lstm temporal_convolutions", "nonfinite", nan_steps=[100])
def nan_at_due_step(model: Model) -> Sick:
    return Sick([trap("net.head", log_of_negative, 100)], ["net.head"])
