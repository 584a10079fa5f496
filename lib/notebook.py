"""What notebooks share: one look for figures, descriptions of figures, numbers for the text, and checks.

Importing this module sets Matplotlib's style to ``lib/book.mplstyle`` and Plotly's to white with light grid lines.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.io
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lib.arguments import yes_or_no
from lib.still import draw_still

plt.style.use("lib.book")
plotly.io.templates.default = "plotly_white"

#: Colours of quantities that appear in more than one figure (Okabe and Ito's palette, safe for colour-blind readers).
COLORS = {
    "truth": "#222222",
    "bias_squared": "#0072B2",
    "variance": "#D55E00",
    "noise": "#777777",
    "mse": "#009E73",
    "highlight": "#CC79A7",
}

SMALLEST_TEXT, NARROWEST_SCREEN = 11, 320  # pixels of the page
PLOTLY = "application/vnd.plotly.v1+json"
DIGITS = 6  # of a number that an interactive figure draws: more than a screen shows


class _Shown:
    """A finished figure as Jupyter displays it: one mime bundle, whose plain text is the description."""

    def __init__(self, bundle: dict[str, object], metadata: dict[str, object]):
        self._bundle, self._metadata = bundle, metadata

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict[str, object], dict[str, object]]:
        return self._bundle, self._metadata


def show(figure, alt: str, still: Figure | None = None) -> _Shown:
    """Display a figure as the last expression of a cell, with a description for readers who do not see it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or plotly.graph_objects.Figure
        A Matplotlib figure becomes a PNG image and is closed. A Plotly figure stays interactive, in the rendered book
        and in JupyterLab; everywhere else its still picture stands for it.
    alt : str
        What a sighted reader sees, in a sentence or two, with computed numbers formatted in: the alternative text of
        the picture, and the plain text of the output, so that a rerun compares the numbers.
    still : matplotlib.figure.Figure, optional
        The still picture of a Plotly figure; by default :mod:`lib.still` draws it.

    Raises
    ------
    ValueError
        If `alt` is empty, or if text in the picture would be smaller than 11 pixels on a phone 320 pixels wide.
    TypeError
        If `figure` is neither a Matplotlib nor a Plotly figure.
    """
    alt = " ".join(alt.split())
    if not alt:
        raise ValueError("alt is empty: say in a sentence what the figure shows")
    interactive = {}
    if hasattr(figure, "to_plotly_json"):
        spec = plotly_spec(figure)
        interactive = {PLOTLY: spec}
        figure = draw_still(spec) if still is None else still
    elif not isinstance(figure, Figure):
        raise TypeError(f"figure must be a Matplotlib or a Plotly figure, got {type(figure).__name__}")
    image = picture(figure)
    # the picture has more dots than the page has pixels, for sharp screens; Jupyter reads width and description here
    metadata = {"image/png": {"alt": alt, "width": round(96 * figure.get_figwidth())}}
    return _Shown({**interactive, "image/png": image, "text/plain": alt}, metadata)


def picture(figure: Figure) -> bytes:
    """A Matplotlib figure as PNG, equal figures in equal bytes; the figure is closed. Errors as of :func:`show`."""
    image, small = io.BytesIO(), io.BytesIO()
    try:
        figure.savefig(image, format="png", metadata={"Software": None})
        _check_text(figure)
    finally:
        plt.close(figure)
    # a drawing has few colours: a palette of 256 makes a third of the size
    Image.open(image).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def _check_text(figure: Figure) -> None:
    """Refuse text too small to read, the exponents of powers apart."""
    pixels_per_point = NARROWEST_SCREEN / (72 * figure.get_figwidth())
    for text in figure.findobj(Text):
        shown = text.get_visible() and text.get_text().strip() and (text.axes is None or text.axes.get_visible())
        if shown and (pixels := text.get_fontsize() * pixels_per_point) < SMALLEST_TEXT:
            raise ValueError(
                f"the text {text.get_text()!r} is {pixels:.1f} pixels high on a phone {NARROWEST_SCREEN} pixels wide, "
                f"at least {SMALLEST_TEXT} can be read: in a figure {figure.get_figwidth():g} inches wide set "
                f"{SMALLEST_TEXT / pixels_per_point:.1f} points or more, or make the figure narrower"
            )


def plotly_spec(figure) -> dict[str, object]:
    """What a Plotly figure draws, as plain JSON: data, layout, frames and configuration.

    Numbers keep six digits and no needless ".0", so that saving the notebook in JupyterLab changes none of them, and
    stand in lists, so that a test compares them one by one. A drag with mouse or finger moves the page, not the axes.
    """
    spec = json.loads(figure.to_json(), parse_float=_short, object_hook=_as_list)
    layout = spec.setdefault("layout", {})
    layout["dragmode"] = False
    named = {key for key in layout if re.fullmatch(r"[xy]axis\d*", key)}
    for axis in sorted(named | {"xaxis", "yaxis"}):
        layout.setdefault(axis, {})["fixedrange"] = True
    return spec


def _as_list(value: dict) -> dict | list:
    """An array in Plotly's binary form as a list."""
    if set(value) <= {"bdata", "dtype", "shape"} and "bdata" in value:
        numbers = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
        shape = [int(length) for length in str(value.get("shape", numbers.size)).split(",")]
        return json.loads(
            json.dumps(numbers.reshape(shape).tolist()), parse_float=_short, parse_constant=lambda gap: None
        )
    return value


def _short(digits: str) -> int | float:
    number = float(f"{float(digits):.{DIGITS}g}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def stored_values(notebook: str | Path) -> dict[str, object]:
    """What another page has glued, from the stored outputs of its notebook: the values by their names.

    Raises
    ------
    OSError
        If there is no such notebook.
    """
    values = {}
    for cell in _cells(notebook):
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                (text,) = output["data"].values()
                values[name] = ast.literal_eval("".join(text))
    return values


def stored_figure(notebook: str | Path, name: str) -> tuple[dict[str, object], str]:
    """An interactive figure that another page shows, as Plotly's JSON, and its description.

    It goes by the `name` that it has there, in the options of its caption.

    Raises
    ------
    KeyError
        If that page shows no such figure.
    """
    for cell in _cells(notebook):
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == name:
            for output in cell["outputs"]:
                if PLOTLY in output.get("data", {}):
                    return output["data"][PLOTLY], "".join(output["data"]["text/plain"])
    raise KeyError(f"{notebook} shows no interactive figure named {name}")


def _cells(notebook: str | Path) -> list[dict]:
    return json.loads(Path(notebook).read_text("utf8"))["cells"]


def check(statement: str, holds: bool) -> None:
    """Print whether a statement about a result holds; a statement that does not hold stops the notebook.

    Raises
    ------
    AssertionError
        If `holds` is false.
    ArgumentError
        If it is neither true nor false, such as a list of answers or a function that was not called.

    >>> check("two and two are four", 2 + 2 == 4)
    check: two and two are four: True
    """
    if not yes_or_no("holds", holds.item() if hasattr(holds, "item") else holds):
        raise AssertionError(f"{statement}: False")
    print(f"check: {statement}: True")


def glue_values(**values: float | str) -> None:
    """Give numbers and words names under which the text quotes them; where MyST-NB is not installed, do nothing.

    NumPy scalars become plain Python numbers, so that the text can format them.
    """
    try:
        from myst_nb import glue
    except ModuleNotFoundError:
        return
    for name, value in values.items():
        glue(name, value.item() if hasattr(value, "item") else value, display=False)
