"""Training diagnostics that a person drops into any Lightning project."""

from .activation_histogram import ActivationHistogram
from .grad_stats import GradStats
from .measure.histogram import Histogram
from .probe.selection import choose_layers, choose_params
from .saturation_map import SaturationMap
from .update_ratio import UpdateRatio

__all__ = [
    "ActivationHistogram",
    "GradStats",
    "Histogram",
    "SaturationMap",
    "UpdateRatio",
    "choose_layers",
    "choose_params",
]
