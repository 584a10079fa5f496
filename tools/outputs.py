"""How a stored output of a chapter is compared with the output of a rerun.

Text is equal, integers are equal, and numbers with a point or an exponent agree to 1e-6 of their size. The cell tags
`nbval-rtol-1e-3` and `nbval-atol-1e-9` widen that for one cell: relative to the stored number, or absolutely. So are
the numbers that Plotly packs into base64. Identifiers made of a digest say nothing that the rest does not.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable

import numpy as np

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
PACKED = re.compile(r'\{[^{}]*"bdata"[^{}]*\}')  # an array in Plotly's JSON, wherever that stands
DIGEST = re.compile(
    r"(?<=[A-Za-z]-)(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,64}(?![0-9A-Za-z])"
)  # the end of an id such as plotly-0f3a…


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


def unpacked(array: dict) -> list | None:
    """Shape and numbers of an array as Plotly packs it, {"dtype": "f8", "bdata": "AAA…"}; None if it is none."""
    if not {"dtype", "bdata"} <= set(array) <= {"dtype", "bdata", "shape"}:
        return None
    try:
        numbers = np.frombuffer(base64.b64decode(array["bdata"], validate=True), np.dtype(array["dtype"]))
    except (TypeError, ValueError):  # of no type, or no base64
        return None
    return [array.get("shape"), *numbers.tolist()]


def readable(text: str) -> str:
    """A text in which packed arrays are lists of numbers, and digests of what stands beside them are alike."""

    def unpack(found: re.Match) -> str:
        try:
            numbers = unpacked(json.loads(found.group()))
        except ValueError:  # no JSON
            return found.group()
        return json.dumps(numbers) if numbers else found.group()

    return DIGEST.sub("ID", PACKED.sub(unpack, text))


def agree(new: str, stored: str, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> bool:
    """Whether two texts are equal but for numbers that are close (and the padding that their lengths cause)."""
    if new == stored:
        return True
    new, stored = readable(new), readable(stored)
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
        numbers, stored_numbers = unpacked(new), unpacked(stored)
        if numbers and stored_numbers and settle(numbers, stored_numbers, relative, absolute) == stored_numbers:
            return stored
        return type(new)({k: settle(v, stored[k], relative, absolute) if k in stored else v for k, v in new.items()})
    if isinstance(new, list) and isinstance(stored, list) and len(new) == len(stored):
        return [settle(a, b, relative, absolute) for a, b in zip(new, stored, strict=True)]
    return new


def as_javascript(value):
    """A value as it comes back from JupyterLab, where 1.0 and 1 are one number."""
    if isinstance(value, dict):
        return {key: as_javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_javascript(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def unchanged(new: dict, stored: dict, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> bool:
    """Whether an output says what the stored one does; JupyterLab adds a picture of its own to interactive figures."""

    def compared(output: dict) -> dict:
        data = dict(output.get("data", {}))
        if "application/vnd.plotly.v1+json" in data:
            data.pop("image/png", None)
        rest = {key: output.get(key) for key in ("output_type", "name", "text", "ename", "evalue")}
        return as_javascript({"data": data, **rest})

    return settle(compared(new), compared(stored), relative, absolute) == compared(stored)


def keep_unchanged(notebook: dict, stored: dict) -> None:
    """Give each cell of a rerun notebook that says what it said before the very outputs that are stored."""
    before = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    after = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for new, old in zip(after, before, strict=False):
        outputs, known = new["outputs"], old["outputs"]
        if new["source"] == old["source"] and len(outputs) == len(known):
            wide = tolerances(old["metadata"].get("tags", []))
            new["outputs"] = [b if unchanged(a, b, *wide) else a for a, b in zip(outputs, known, strict=True)]
            for output in new["outputs"]:
                if "execution_count" in output:
                    output["execution_count"] = new["execution_count"]
