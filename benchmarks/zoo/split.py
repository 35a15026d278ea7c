"""Split of the models: a part to tune thresholds on, a part that is held out, and a part that was unseen.

The split is by model, before any verdict was read: faults and mutations follow the model that they break. It is
balanced over families, and over activations and norms within a family. Thresholds must not be chosen after a verdict
on the held-out part. The unseen part was written later, by a person who had read neither thresholds nor verdicts.
"""

from typing import Literal

Part = Literal["tuning", "held-out", "unseen"]
PARTS: tuple[Part, ...] = ("tuning", "held-out", "unseen")

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

UNSEEN = {
    *("rezero_30", "highway", "mixture_of_experts", "tasks_weighted_by_uncertainty"),
    *("vae_summed", "vq_vae", "normalizing_flow", "diffusion_points"),
    *("masked_autoencoder", "plateau_validated", "weights_averaged"),
    *("unfreezing_by_epoch", "cyclic_rate", "warm_restarts", "exponential_decay"),
    *("lbfgs", "sharpness_aware", "signs_by_lion", "clipping_by_value"),
    *("converged_long_ago", "overfitted_batch", "bf16_layernorm"),
    *("fine_tuning_slow_body", "physics_informed", "byol", "barlow_twins"),
    *("triplet_margin", "two_towers", "cosine_margin", "distillation"),
    *("gan_hinge_spectral", "wgan_penalty", "deep_q_network", "actor_critic", "llama"),
    *("gpt_checkpointed", "encoder_decoder", "bilstm_tagger", "packed_gru"),
    *("speech_ctc", "text_cnn", "lstm_forecast", "tcn_weight_norm"),
    *("factorization_sparse", "one_hot_letters", "column_transformer", "deep_sets"),
    *("graph_convolutions", "mixture_density", "mlp_wide", "mlp_pyramid", "mlp_narrow"),
    *("mlp_mish_moons", "mlp_dropout_half", "selu_alpha_dropout"),
    *("batchnorm_on_raw_columns", "targets_scaled_inside", "regression_quantiles"),
    *("regression_with_variance", "regression_of_counts", "regression_ordinal"),
    *("multi_label", "entity_embeddings", "cnn_groupnorm", "mobilenet_v2"),
    *("vision_transformer", "mixer_mixup", "denoising_unet", "focal_loss_with_prior"),
    *("siren", "fourier_features"),
}
"""Names of the models that were written after the thresholds, without knowledge of them."""


def part_of(model: str) -> Part:
    """Returns the part that a model is in."""
    if model in UNSEEN:
        return "unseen"
    return "held-out" if model in HELD_OUT else "tuning"
