"""Diagnostics that a person drops into any Lightning project. They know nothing of makemore."""

from .activation_histogram import ActivationHistogram
from .grad_stats import GradStats
from .saturation_map import SaturationMap
from .update_ratio import UpdateRatio

__all__ = ["ActivationHistogram", "GradStats", "SaturationMap", "UpdateRatio"]
