"""Split of the models into a part to tune thresholds on and a part that is held out.

The split is by model, before any verdict was read: faults and mutations follow the model that they break. It is
balanced over families, and over activations and norms within a family. Thresholds must not be chosen after a verdict
on the held-out part.
"""

from typing import Literal

Part = Literal["tuning", "held-out"]
PARTS: tuple[Part, ...] = ("tuning", "held-out")

HELD_OUT = {
    *("mlp_kaiming", "mlp_tanh_spirals", "mlp_sigmoid", "mlp_relu_spirals"),
    *("mlp_elu", "mlp_dropout"),
    *("deep_relu", "residual_gelu"),
    *("regression_wiggle", "imbalanced_bce", "class_weights"),
    *("cnn_tanh", "vgg_batchnorm_dropout", "squeeze_excite", "convnext_layer_scale"),
    *("gpt_untied", "gru_characters", "temporal_convolutions", "rare_embeddings"),
    *("makemore_tanh", "makemore_batchnorm"),
    *("autoencoder_bce", "vae"),
    *("bandit", "q_learning"),
    *("frozen_batchnorm", "fine_tuning_all", "contrastive"),
    *("warm_up_cosine", "clipping_sgd", "accumulated_by_hand", "bf16_mixed"),
    *("momentum", "torchmetrics_inside", "rate_by_layer"),
}
"""Names of the models that are held out."""


def part_of(model: str) -> Part:
    """Returns the part that a model is in."""
    return "held-out" if model in HELD_OUT else "tuning"
