"""Figures of the lecture: numbers in, PNG out. Uses matplotlib without the state of pyplot.

The drawing process loads this folder alone, so its files import nothing of the package.
"""
