"""Numbers as short texts, for legends and tables."""

import math


def compact(number: float) -> str:
    """Formats a number with at most six characters.

    Example:
        >>> [compact(number) for number in (0.0, 0.7512, -12.3, 4321.0, -0.000012, 3e12)]
        ['0', '0.75', '-12.3', '4321', '-1e-5', '3e12']
    """
    magnitude = abs(number)
    if magnitude == 0 or not math.isfinite(number):
        return f"{number:.0f}"
    if not 0.01 <= magnitude < 9999.5:
        digits, exponent = f"{number:.0e}".split("e")
        return f"{digits}e{int(exponent)}"
    decimals = 2 if magnitude < 10 else 1 if magnitude < 100 else 0
    return f"{number:.{decimals}f}"


def percent(fraction: float) -> str:
    """Formats a fraction as a percentage of at most four characters; all and none are exact.

    Example:
        >>> [percent(fraction) for fraction in (0.0, 1e-5, 0.034, 0.52, 0.9999, 1.0)]
        ['0%', '0.1%', '3.4%', '52%', '99%', '100%']
    """
    if fraction in (0, 1):
        return f"{fraction:.0%}"
    if fraction < 0.0995:
        return f"{max(fraction, 0.001):.1%}"
    return f"{min(fraction, 0.99):.0%}"
