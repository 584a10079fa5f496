"""Checks of what users hand in: one sentence that names the argument, its value and what is allowed.

They stand at the door of public functions and nowhere else; inside, code trusts itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np


class ArgumentError(ValueError, TypeError):
    """An argument that makes no sense. Both errors at once, as scikit-learn's: a caller need not know which it is."""


def whole_number(name: str, value: object, at_least: int = 1, at_most: float = math.inf) -> int:
    """A whole number (Python's or NumPy's, no bool) within bounds, as a Python int.

    >>> whole_number("n_learners", 2.5)
    Traceback (most recent call last):
    lib.arguments.ArgumentError: n_learners must be a whole number of at least 1, got 2.5
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or not at_least <= value <= at_most:
        limit = f"of at least {at_least}" if at_most == math.inf else f"from {at_least} to {at_most}"
        raise ArgumentError(f"{name} must be a whole number {limit}, got {value!r}")
    return int(value)


def real_number(name: str, value: object, *, at_least: float = -math.inf, above: float = -math.inf) -> float:
    """A finite number (no bool) within bounds, as a Python float.

    >>> real_number("learning_rate", 0, above=0)
    Traceback (most recent call last):
    lib.arguments.ArgumentError: learning_rate must be a finite number above 0, got 0
    """
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < at_least or value <= above:
        limit = f" above {above}" if above > -math.inf else f" of at least {at_least}" if at_least > -math.inf else ""
        raise ArgumentError(f"{name} must be a finite number{limit}, got {value!r}")
    return float(value)


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """One of a few strings.

    >>> choice("subset", "tiny", ("quick", "full"))
    Traceback (most recent call last):
    lib.arguments.ArgumentError: subset must be one of quick, full, got 'tiny'
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def yes_or_no(name: str, value: object) -> bool:
    """True or False, Python's or NumPy's, and nothing else: the word "no" would count as true.

    >>> yes_or_no("drop_intermediate", "no")
    Traceback (most recent call last):
    lib.arguments.ArgumentError: drop_intermediate must be True or False, got 'no'
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_unmasked(name: str, values: object) -> None:
    """Raise ArgumentError for masked values, which NumPy would count like all others.

    >>> check_unmasked("y_score", np.ma.masked_equal([1, 2], 2))
    Traceback (most recent call last):
    lib.arguments.ArgumentError: y_score has masked values (1 of them): leave them out of all arguments, or fill them
    """
    rows = values if isinstance(values, (list, tuple)) else [values]  # a list may hold masked rows
    if masked := sum(np.ma.count_masked(row) for row in rows if np.ma.isMaskedArray(row)):
        way_out = "leave them out of all arguments, or fill them"
        raise ArgumentError(f"{name} has masked values ({masked} of them): {way_out}")


def on_cpu(values: object) -> object:
    """A tensor without its gradient and off its accelerator, anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return values.double() if values.is_floating_point() else values  # NumPy has no bfloat16


def finite_numbers(name: str, values: object) -> np.ndarray:
    """Finite real numbers in float64, of any shape: from a list, an array, a tensor or a table.

    >>> finite_numbers("x_train", [1.0, np.nan])
    Traceback (most recent call last):
    lib.arguments.ArgumentError: x_train has missing or infinite values (1 of them): remove them first
    """
    check_unmasked(name, values)
    try:
        array = np.asarray(on_cpu(values))
        if array.dtype.kind not in "biufO":  # dates would become days, complex numbers their real part
            raise TypeError(f"got {array.dtype}")
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must hold real numbers, in rows of one length: {error}") from None
    if bad := np.count_nonzero(~np.isfinite(array)):
        raise ArgumentError(f"{name} has missing or infinite values ({bad} of them): remove them first")
    return array


def generator(name: str, value: object) -> np.random.Generator:
    """A random number generator as it is, or a new one from a seed.

    >>> generator("rng", None)
    Traceback (most recent call last):
    lib.arguments.ArgumentError: rng must be a numpy.random.Generator or a whole number as its seed, got None
    """
    if isinstance(value, np.random.Generator):
        return value
    # None would be a fresh seed each time, RandomState another stream of numbers than its owner expects
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
        raise ArgumentError(f"{name} must be a numpy.random.Generator or a whole number as its seed, got {value!r}")
    return np.random.default_rng(int(value))
