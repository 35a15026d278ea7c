"""Diagnostics that a person drops into any Lightning project. They know nothing of makemore."""

__all__: list[str] = []
