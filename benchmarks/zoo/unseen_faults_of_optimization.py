"""Faults of the optimization, on the unseen models."""

from torch import nn

from .breaks import evaluate, evaluate_all
from .breaks_of_training import (
    argue,
    cut_batches,
    forget,
    multiply_rate,
    set_rate_of,
    spike,
)
from .cases import Sick
from .faults import fault
from .models import Model
from .unseen_breaks import (
    by_hand,
    decay_at_once,
    drop_out,
    evaluate_from,
    freeze,
    hide_in_list,
    schedule,
    set_group,
    unscale_wine,
    without_gradient,
)
from .unseen_faults_of_initialization import ALL

HIGH = "update_high loss_diverges nonfinite"


@fault("mlp_mish_moons llama packed_gru text_cnn mobilenet_v2", HIGH)
def rate_100_times(_: Model) -> Sick:
    return Sick([multiply_rate(100)], ALL)


@fault("signs_by_lion multi_label deep_sets", HIGH)
def rate_500_times(_: Model) -> Sick:
    return Sick([multiply_rate(500)], ALL)


LOW = "update_low loss_stalls"


@fault("multi_label bilstm_tagger entity_embeddings mobilenet_v2", LOW)
def rate_a_hundred_thousandth(_: Model) -> Sick:
    return Sick([multiply_rate(1e-5)], ALL)


@fault("exponential_decay warm_restarts", LOW)
def rate_decays_each_step(_: Model) -> Sick:
    return Sick([decay_at_once(0.5)], ALL)


@fault("vision_transformer llama", LOW)
def endless_warm_up(_: Model) -> Sick:
    return Sick([schedule(lambda step: step / 1e7)], ALL)


@fault("cosine_margin selu_alpha_dropout", "update_low loss_stalls clipping")
def clipping_to_a_millionth(_: Model) -> Sick:
    return Sick([argue(gradient_clip_val=1e-6)], ALL)


@fault("mlp_wide", "update_high loss_stalls activation_scale")
def decay_of_100(_: Model) -> Sick:
    return Sick([set_group(weight_decay=100.0)], ALL)


@fault("cyclic_rate cosine_margin", "update_high loss_stalls activation_scale")
def decay_of_10_by_sgd(_: Model) -> Sick:
    return Sick([set_group(weight_decay=10.0)], ALL)


@fault("mlp_pyramid gpt_checkpointed deep_sets", "update_high loss_diverges nonfinite")
def spike_between_due_steps(_: Model) -> Sick:
    return Sick([spike(137, 3000)], ALL)


@fault("mlp_pyramid cnn_groupnorm deep_sets", "stale_gradients")
def gradients_never_zeroed(_: Model) -> Sick:
    return Sick([by_hand("never")], ALL)


@fault("mlp_pyramid bilstm_tagger", "unmoved stale_gradients")
def gradients_zeroed_too_late(_: Model) -> Sick:
    return Sick([by_hand("late")], ALL)


@fault("mlp_mish_moons mlp_dropout_half", "unmoved stale_gradients")
def step_forgotten(_: Model) -> Sick:
    return Sick([by_hand(accumulate=10**6)], ALL)


@fault("converged_long_ago tcn_weight_norm", "update_low loss_stalls unmoved")
def accumulated_forever(_: Model) -> Sick:
    # Lightning divides the losses by 250; they do not fall before the second step.
    return Sick([argue(accumulate_grad_batches=250)], ALL)


FORGOTTEN = "optimizer_params unmoved"


@fault("mlp_pyramid mlp_mish_moons", FORGOTTEN, silent=True)
def head_alone_in_optimizer(model: Model) -> Sick:
    return Sick([forget(*model.hidden)], ["", *model.hidden])


@fault("bilstm_tagger entity_embeddings vision_transformer", FORGOTTEN, silent=True)
def base_not_in_optimizer(model: Model) -> Sick:
    names = {"bilstm_tagger": "net.lstm", "entity_embeddings": "net.embeddings"}
    name = names.get(model.name, "net.encoder")
    return Sick([forget(name)], ["", name])


@fault("rezero_30 mixture_of_experts tcn_weight_norm", FORGOTTEN, silent=True)
def layers_in_a_list(model: Model) -> Sick:
    names = {"rezero_30": "layers", "mixture_of_experts": "experts"}
    name = names.get(model.name, "convs")
    return Sick([hide_in_list(name)], ["", f"net.{name}"])


@fault("mlp_pyramid mlp_wide signs_by_lion", "unmoved", silent=True)
def layer_under_no_grad(model: Model) -> Sick:
    return Sick([without_gradient(model.hidden[1])], model.hidden[:2])


@fault("speech_ctc vision_transformer text_cnn", "unmoved", silent=True)
def first_layer_under_no_grad(model: Model) -> Sick:
    names = {"speech_ctc": "net.conv", "text_cnn": "net.embedding"}
    name = names.get(model.name, "net.patches")
    return Sick([without_gradient(name)], [name])


@fault("mlp_pyramid mlp_mish_moons", "frozen unmoved optimizer_params", silent=True)
def frozen_by_mistake(model: Model) -> Sick:
    return Sick([freeze(*model.hidden)], ["", *model.hidden])


UNEVEN = "uneven_learning update_low unmoved"


@fault("signs_by_lion mlp_pyramid", UNEVEN, silent=True)
def rate_tiny_of_second_layer(model: Model) -> Sick:
    return Sick([set_rate_of(model.hidden[1], by=1e-6)], [model.hidden[1]])


MODE = "eval_mode batchnorm"


@fault("mobilenet_v2 barlow_twins", MODE, silent=True)
def norms_in_eval(_: Model) -> Sick:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    return Sick([evaluate(kinds)], ALL)


@fault("text_cnn mlp_dropout_half column_transformer", "eval_mode", silent=True)
def all_in_eval(_: Model) -> Sick:
    return Sick([evaluate_all], ALL)


@fault("mlp_dropout_half mobilenet_v2 text_cnn", MODE, silent=True)
def eval_from_a_step_on(_: Model) -> Sick:
    return Sick([evaluate_from(120)], ALL)


@fault("mlp_dropout_half text_cnn graph_convolutions", "dropout dead_units loss_stalls")
def dropout_of_98_percent(_: Model) -> Sick:
    return Sick([drop_out(0.98)], ALL)


@fault("batchnorm_on_raw_columns mobilenet_v2", "batchnorm")
def norms_of_few_rows(model: Model) -> Sick:
    rows = 2 if model.family == "table" else 1
    return Sick([cut_batches(rows)], ALL)


@fault("converged_long_ago clipping_by_value", "input_scale")
def wine_in_its_units(_: Model) -> Sick:
    return Sick([unscale_wine], ["", "input", "net.fc1"])


@fault("mlp_wide exponential_decay", "low_precision unmoved update_low")
def weights_in_bfloat16(_: Model) -> Sick:
    breaks = [multiply_rate(0.01), argue(precision="bf16-true")]
    return Sick(breaks, ALL)
