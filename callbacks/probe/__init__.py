"""Observation of one fit: which step, layer, parameter, gradient and rank. Imports Lightning; knows no logger."""
