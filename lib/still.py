"""The still picture of an interactive figure: what a Plotly figure shows before anything is moved, drawn by Matplotlib.

A notebook is also read where no script runs: on GitHub, on paper, in a viewer. Plotly itself can draw a picture only
through a browser, so the kinds of traces that a book needs are drawn here: scatter, bar and waterfall.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.8  # inches
PIXELS = 544  # that Plotly would have for the same width
POINTS = 72 * WIDTH / PIXELS  # of one such pixel
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
STEPS = {"hv": "steps-post", "vh": "steps-pre", "hvh": "steps-mid"}


def draw_still(spec: dict) -> Figure:
    """Draw the first state of a Plotly figure.

    Parameters
    ----------
    spec : dict
        The figure as JSON describes it: lists and numbers, no arrays.

    Returns
    -------
    matplotlib.figure.Figure
        4.8 inches wide, open; whoever shows it closes it.

    Raises
    ------
    ValueError
        If the figure has a kind of trace, shape or annotation that is not drawn here.
    """
    layout = spec.get("layout", {})
    figure = plt.figure(figsize=(WIDTH, layout.get("height", 450) / PIXELS * WIDTH))
    panels = _panels(figure, layout)
    for number, trace in enumerate(spec.get("data", [])):
        if trace.get("visible", True) is True:
            kind = trace.get("type", "scatter")
            draw = {"scatter": _scatter, "bar": _bar, "waterfall": _waterfall}.get(kind) or _refuse(f"a {kind} trace")
            draw(panels[trace.get("xaxis", "x"), trace.get("yaxis", "y")], trace, f"C{number % 7}")
    for names, panel in panels.items():
        for name in names:
            _axis(panel, name[0], _options(layout, name))
    for shape in layout.get("shapes", []):
        _line(panels, shape)
    for annotation in layout.get("annotations", []):
        _annotation(panels, layout, annotation)
    _heads(figure, layout, panels)
    return figure


def _refuse(what: str) -> None:
    raise ValueError(f"{what} has no still picture: pass one, show(figure, alt, still=...)")


def _options(layout: dict, axis: str) -> dict:
    """Of an axis: `x2`, as a trace names it, is `xaxis2` in the layout."""
    return layout.get(f"{axis[0]}axis{axis[1:]}", {})


def _domain(layout: dict, axis: str) -> tuple[float, float]:
    return tuple(_options(layout, axis).get("domain", (0, 1)))


def _panels(figure: Figure, layout: dict) -> dict[tuple[str, str], Axes]:
    """The axes for each pair of Plotly's axes, on the grid that their domains span."""
    numbers = [key[5:] for key in layout if re.fullmatch(r"xaxis\d*", key)] or [""]
    places = {(f"x{n}", f"y{n}"): (_domain(layout, f"x{n}"), _domain(layout, f"y{n}")) for n in numbers}
    columns, rows = (sorted(set(domains)) for domains in zip(*places.values(), strict=True))
    rows.reverse()  # Plotly counts from below
    widths, heights = ([end - begin for begin, end in spans] for spans in (columns, rows))
    grid = figure.add_gridspec(len(rows), len(columns), width_ratios=widths, height_ratios=heights)
    panels = {}
    for names, (column, row) in places.items():
        panels[names] = panel = figure.add_subplot(grid[rows.index(row), columns.index(column)])
        for axis, name in zip((panel.xaxis, panel.yaxis), names, strict=True):
            if order := _options(layout, name).get("categoryarray"):  # before something is drawn
                axis.update_units(order)
    return panels


def _scatter(panel: Axes, trace: dict, color: str) -> None:
    mode, line, marker = trace.get("mode", "lines"), trace.get("line", {}), trace.get("marker", {})
    y = [np.nan if value is None else value for value in trace["y"]]  # Plotly's gaps are None
    x = trace.get("x", range(len(y)))
    if "text" in mode:
        for *place, text in zip(x, y, trace["text"], strict=True):
            panel.text(*place, _plain(text), ha="center", va="center")
    if mode == "text":
        return
    panel.plot(
        [np.nan if value is None else value for value in x],
        y,
        color=line.get("color", marker.get("color", color)),
        linestyle=DASHES.get(line.get("dash"), "-") if "lines" in mode else "",
        linewidth=line.get("width", 2) * POINTS,
        drawstyle=STEPS.get(line.get("shape"), "default"),
        marker="o" if "markers" in mode else "",
        markersize=marker.get("size", 6) * POINTS,
        alpha=trace.get("opacity"),
        label=_label(trace),
        solid_capstyle="butt",
    )


def _bar(panel: Axes, trace: dict, color: str) -> None:
    draw, names, lengths, _ = _bars(panel, trace)
    bars = draw(names, lengths, color=trace.get("marker", {}).get("color", color), label=_label(trace))
    if "text" in trace:
        panel.bar_label(bars, [_plain(text) for text in trace["text"]], padding=2)


def _waterfall(panel: Axes, trace: dict, color: str) -> None:
    draw, names, steps, begin_of = _bars(panel, trace)
    templates, end = trace.get("texttemplate", ""), 0.0
    for place, (name, step, kind) in enumerate(zip(names, steps, trace["measure"], strict=True)):
        begin, end = (0.0, end) if kind == "total" else (end, end + step)
        which = "totals" if kind == "total" else "increasing" if step >= 0 else "decreasing"
        fill = trace.get(which, {}).get("marker", {}).get("color", color)
        fill = "none" if str(fill).startswith("rgba(0,0,0,0") else fill
        bars = draw([name], [end - begin], color=fill, **{begin_of: begin})
        template = templates if isinstance(templates, str) else templates[place]
        text = template.replace("%{", "{").format(delta=end - begin, final=end)
        panel.bar_label(bars, [_plain(text)], padding=2)


def _bars(panel: Axes, trace: dict) -> tuple[Callable, list, list, str]:
    """What draws the bars, their names and lengths, and its word for where they begin."""
    flat = trace.get("orientation") == "h"
    names, lengths = (trace["y"], trace["x"]) if flat else (trace["x"], trace["y"])
    names = [_plain(name) if isinstance(name, str) else name for name in names]
    return (panel.barh, names, lengths, "left") if flat else (panel.bar, names, lengths, "bottom")


def _label(trace: dict) -> str:
    return _plain(trace["name"]) if trace.get("name") and trace.get("showlegend", True) else "_"


def _plain(text: str) -> str:
    """Plotly's small HTML as plain text."""
    return re.sub(r"</?\w+>", "", str(text).replace("<br>", "\n"))


def _axis(panel: Axes, letter: str, options: dict) -> None:
    axis, log = getattr(panel, f"{letter}axis"), options.get("type") == "log"
    if log:
        panel.set(**{f"{letter}scale": "log"})
    if span := options.get("range"):
        panel.set(**{f"{letter}lim": [10.0**end if log else end for end in span]})
    if options.get("autorange") == "reversed":
        axis.set_inverted(True)
    if ticks := options.get("tickvals"):
        axis.set_ticks(ticks, [_plain(text) for text in options.get("ticktext", ticks)])
        axis.set_ticks([], minor=True)
    elif suffix := options.get("ticksuffix"):
        axis.set_major_formatter(lambda value, place: f"{value:g}{suffix}")
    if options.get("showgrid") is False:
        axis.grid(False)
    axis.set_label_text(_plain(options.get("title", {}).get("text", "")))


def _line(panels: dict, shape: dict) -> None:
    """A line across a panel, as `add_vline` and `add_hline` make it."""
    (x, *whole_width), (y, *whole_height) = (shape.get(ref, ref[0]).split() for ref in ("xref", "yref"))
    if shape.get("type") != "line" or bool(whole_width) == bool(whole_height):
        _refuse("what is no line across a panel")
    line = shape.get("line", {})
    look = {"color": line.get("color", "black"), "linestyle": DASHES[line.get("dash", "solid")]}
    if whole_height:
        panels[x, y].axvline(shape["x0"], **look)
    else:
        panels[x, y].axhline(shape["y0"], **look)


def _annotation(panels: dict, layout: dict, annotation: dict) -> None:
    """A text at a point of a panel, or the title of one, as `subplot_titles` makes it."""
    place, text = (annotation["x"], annotation["y"]), _plain(annotation["text"])
    if annotation.get("xref") != "paper":
        across = "left" if annotation.get("xanchor") == "left" else "center"
        panel = panels[annotation.get("xref", "x"), annotation.get("yref", "y")]
        panel.text(*place, f" {text}", ha=across, va="center")
        return
    for names, panel in panels.items():
        (left, right), (_, top) = (_domain(layout, axis) for axis in names)
        if np.allclose(place, ((left + right) / 2, top)):
            panel.set_title(text)
            return
    _refuse(f"the annotation {text!r}")


def _heads(figure: Figure, layout: dict, panels: dict) -> None:
    """Above all panels where sliders and lists stand, below them the names of the curves."""
    named = {}
    for panel in panels.values():
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named and layout.get("showlegend", len(named) > 1):
        figure.legend(named.values(), named.keys(), loc="outside lower left", ncols=min(len(named), 3))
    stands = []
    for slider in layout.get("sliders", []):
        step = slider["steps"][slider.get("active", 0)]
        stands.append(f"{slider.get('currentvalue', {}).get('prefix', '')}{step['label']}")
    stands += [menu["buttons"][menu.get("active", 0)]["label"] for menu in layout.get("updatemenus", [])]
    if stands:
        figure.suptitle("\n".join(stands), fontsize=plt.rcParams["font.size"])
