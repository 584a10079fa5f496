"""How a stored output of a chapter is compared with the output of a rerun.

Text is equal, integers are equal, and numbers with a point or an exponent agree to 1e-6 of their size. The cell tags
`nbval-rtol-1e-3` and `nbval-atol-1e-9` widen that for one cell: relative to the stored number, or absolutely.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

RELATIVE, ABSOLUTE = 1e-6, 0.0
TAG = re.compile(r"nbval-([ra])tol-(.+)")
# Not inside a word, a version or an identifier; 1,234.5 is one number, but [1,234.5] holds two.
NUMBER = re.compile(
    r"""(?<![\w.])-?(?:
        (?<![\[(,])(?<![\[(,]-)\d{1,3}(?:,\d{3})+(?![\d,\])])(?:\.\d+)?
        | (?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?
    )""",
    re.VERBOSE,
)
SPACES = re.compile(r" +(?=#)")


def tolerances(tags: Iterable[str]) -> tuple[float, float]:
    """Relative and absolute tolerance that the tags of a cell ask for."""
    asked = {"r": RELATIVE, "a": ABSOLUTE}
    for tag in tags:
        if found := TAG.fullmatch(tag):
            asked[found.group(1)] = float(found.group(2))
    return asked["r"], asked["a"]


def close(new: str, stored: str, relative: float, absolute: float) -> bool:
    """Whether two printed numbers agree: equal as text, or both with a point or exponent and near each other."""
    if new == stored:
        return True
    if not (re.search(r"[.eE]", new) and re.search(r"[.eE]", stored)):
        return False
    difference = abs(float(new.replace(",", "")) - float(stored.replace(",", "")))
    return difference <= max(relative * abs(float(stored.replace(",", ""))), absolute)


def agree(new: str, stored: str, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> bool:
    """Whether two texts are equal but for numbers that are close (and the padding that their lengths cause)."""
    if new == stored:
        return True
    numbers, stored_numbers = NUMBER.findall(new), NUMBER.findall(stored)
    masks = NUMBER.sub("#", new), NUMBER.sub("#", stored)
    if [len(number) for number in numbers] != [len(number) for number in stored_numbers]:
        masks = tuple(SPACES.sub(" ", mask) for mask in masks)
    return masks[0] == masks[1] and all(
        close(a, b, relative, absolute) for a, b in zip(numbers, stored_numbers, strict=True)
    )


def settle(new, stored, relative: float = RELATIVE, absolute: float = ABSOLUTE):
    """A copy of `new` in which every text and float that agrees with its partner in `stored` is that partner."""
    if isinstance(new, str) and isinstance(stored, str):
        return stored if agree(new, stored, relative, absolute) else new
    if type(new) is float and type(stored) is float:
        within = new == stored or abs(new - stored) <= max(relative * abs(stored), absolute)
        return stored if within or (math.isnan(new) and math.isnan(stored)) else new
    if isinstance(new, dict) and isinstance(stored, dict):
        return type(new)({k: settle(v, stored[k], relative, absolute) if k in stored else v for k, v in new.items()})
    if isinstance(new, list) and isinstance(stored, list) and len(new) == len(stored):
        return [settle(a, b, relative, absolute) for a, b in zip(new, stored, strict=True)]
    return new
