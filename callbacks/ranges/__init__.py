"""Rows and table of the ranges of numbers."""
