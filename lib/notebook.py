"""What notebooks share: one look for figures, descriptions of figures, numbers for the text, and checks.

Importing this module sets Matplotlib's style to ``lib/book.mplstyle`` and Plotly's to white with light grid lines.
"""

from __future__ import annotations

import hashlib
import html
import io
import json

import matplotlib.pyplot as plt
import plotly.io
from matplotlib.figure import Figure

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


class _Shown:
    """A finished figure as Jupyter displays it: one mime bundle, whose plain text is the description."""

    def __init__(self, bundle: dict[str, object]):
        self._bundle = bundle

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, object]:
        return self._bundle


def show(figure, alt: str) -> _Shown:
    """Display a figure as the last expression of a cell, with a description for readers who do not see it.

    The description becomes the plain-text form of the output, so that a rerun compares its numbers, and the
    ``alt`` text of the picture in the rendered book.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or plotly.graph_objects.Figure
        A Matplotlib figure becomes a PNG image and is closed. A Plotly figure stays interactive: in the rendered book
        without a kernel or a network, in JupyterLab by Plotly's own extension.
    alt : str
        What a sighted reader sees, in a sentence or two, with computed numbers formatted in.

    Returns
    -------
    object
        Something that Jupyter displays.

    Raises
    ------
    ValueError
        If `alt` is empty.
    TypeError
        If `figure` is neither a Matplotlib nor a Plotly figure.
    """
    alt = " ".join(alt.split())
    if not alt:
        raise ValueError("alt is empty: say in a sentence what the figure shows")
    if isinstance(figure, Figure):
        image = io.BytesIO()
        figure.savefig(image, format="png", metadata={"Software": None})
        plt.close(figure)
        return _Shown({"image/png": image.getvalue(), "text/plain": alt})
    if hasattr(figure, "to_plotly_json"):
        spec = json.loads(figure.to_json())
        text = json.dumps(spec, sort_keys=True).replace("</", r"<\/")
        name = f"plotly-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        body = (
            f'<div id="{name}" class="plotly-offline" role="group" aria-label="{html.escape(alt)}"></div>\n'
            f'<script type="application/json" id="{name}-spec">{text}</script>\n'
        )
        return _Shown({"application/vnd.plotly.v1+json": spec, "text/html": body, "text/plain": alt})
    raise TypeError(f"figure must be a Matplotlib or a Plotly figure, got {type(figure).__name__}")


def check(statement: str, holds: bool) -> None:
    """Print whether a statement about a result holds; a statement that does not hold stops the notebook.

    Raises
    ------
    AssertionError
        If `holds` is false.

    >>> check("two and two are four", 2 + 2 == 4)
    check: two and two are four: True
    """
    holds = bool(holds)
    if not holds:
        raise AssertionError(f"{statement}: False")
    print(f"check: {statement}: {holds}")


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
