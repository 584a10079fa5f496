"""The still picture of an interactive figure: what a Plotly figure shows before anything is moved, drawn by Matplotlib.

A notebook is also read where no script runs: on GitHub, on paper, in a viewer. Plotly itself can draw a picture only
through a browser, so the kinds of traces that a book needs are drawn here: scatter, bar and waterfall.
"""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.8  # inches
PIXELS = 544  # that Plotly would have for the same width
POINTS = 72 * WIDTH / PIXELS  # of one such pixel
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
STEPS = {"hv": "steps-post", "vh": "steps-pre", "hvh": "steps-mid"}
ANCHORS = {"auto": "center", "middle": "center"}


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
    for (x, y), panel in panels.items():  # the order of categories, before something is drawn
        for axis, name in ((panel.xaxis, x), (panel.yaxis, y)):
            if order := layout.get(_long(name), {}).get("categoryarray"):
                axis.update_units(order)
    for number, trace in enumerate(spec.get("data", [])):
        if trace.get("visible", True) is True:
            draw = {"scatter": _scatter, "bar": _bar, "waterfall": _waterfall}.get(trace.get("type", "scatter"))
            if draw is None:
                raise ValueError(
                    f"a {trace['type']} trace has no still picture: pass one, show(figure, alt, still=...)"
                )
            draw(panels[_panel_of(trace)], trace, f"C{number % 7}")
    for name, panel in panels.items():
        for letter in "xy":
            _axis(panel, letter, layout.get(_long(name[letter == "y"]), {}))
    for shape in layout.get("shapes", []):
        _line(panels, shape)
    for annotation in layout.get("annotations", []):
        _annotation(panels, layout, annotation)
    _heads(figure, layout, panels)
    return figure


def _long(axis: str) -> str:
    """`x2`, as a trace names its axis, is `xaxis2` in the layout."""
    return f"{axis[0]}axis{axis[1:]}"


def _panel_of(trace: dict) -> tuple[str, str]:
    return trace.get("xaxis", "x"), trace.get("yaxis", "y")


def _domains(layout: dict, letter: str) -> list[tuple[float, float]]:
    axes = [value for key, value in layout.items() if re.fullmatch(rf"{letter}axis\d*", key)]
    return sorted({tuple(axis.get("domain", (0, 1))) for axis in axes} or {(0, 1)})


def _panels(figure: Figure, layout: dict) -> dict[tuple[str, str], Axes]:
    """The axes for each pair of Plotly's axes, on the grid that their domains span."""
    columns, rows = _domains(layout, "x"), _domains(layout, "y")[::-1]
    widths, heights = ([end - begin for begin, end in spans] for spans in (columns, rows))
    grid = figure.add_gridspec(len(rows), len(columns), width_ratios=widths, height_ratios=heights)
    panels = {}
    names = [key for key in layout if re.fullmatch(r"xaxis\d*", key)] or ["xaxis"]
    for name in names:
        pair = f"x{name[5:]}", f"y{name[5:]}"
        at = [tuple(layout.get(_long(axis), {}).get("domain", (0, 1))) for axis in pair]
        panels[pair] = figure.add_subplot(grid[rows.index(at[1]), columns.index(at[0])])
    return panels


def _numbers(values) -> list:
    """Plotly's gaps are None."""
    return [np.nan if value is None else value for value in values]


def _scatter(panel: Axes, trace: dict, color: str) -> None:
    mode, line, marker = trace.get("mode", "lines"), trace.get("line", {}), trace.get("marker", {})
    y = _numbers(trace["y"])
    x = _numbers(trace.get("x", range(len(y))))
    if "text" in mode:
        for *place, text in zip(x, y, trace["text"], strict=True):
            panel.text(*place, _plain(text), ha="center", va="center")
    if mode == "text":
        return
    panel.plot(
        x,
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
    flat = trace.get("orientation") == "h"
    names, lengths = _bars(trace, flat)
    colors = trace.get("marker", {}).get("color", color)
    bars = (panel.barh if flat else panel.bar)(names, lengths, color=colors, label=_label(trace))
    if "text" in trace:
        panel.bar_label(bars, [_plain(text) for text in trace["text"]], padding=2)


def _bars(trace: dict, flat: bool) -> tuple[list, list]:
    names, lengths = (trace["y"], trace["x"]) if flat else (trace["x"], trace["y"])
    return [_plain(name) if isinstance(name, str) else name for name in names], lengths


def _waterfall(panel: Axes, trace: dict, color: str) -> None:
    flat = trace.get("orientation") == "h"
    names, steps = _bars(trace, flat)
    templates = trace.get("texttemplate", "")
    end = 0.0
    for place, (name, step, kind) in enumerate(zip(names, steps, trace["measure"], strict=True)):
        begin, end = (0.0, end) if kind == "total" else (end, end + step)
        which = "totals" if kind == "total" else "increasing" if step >= 0 else "decreasing"
        fill = trace.get(which, {}).get("marker", {}).get("color", color)
        fill = "none" if str(fill).startswith("rgba(0,0,0,0") else fill
        draw = panel.barh if flat else panel.bar
        bars = draw([name], [end - begin], color=fill, **{"left" if flat else "bottom": begin})
        template = templates if isinstance(templates, str) else templates[place]
        text = template.replace("%{", "{").format(delta=end - begin, final=end)
        panel.bar_label(bars, [_plain(text)], padding=2)


def _label(trace: dict) -> str:
    return _plain(trace["name"]) if trace.get("name") and trace.get("showlegend", True) else "_"


def _plain(text: str) -> str:
    """Plotly's small HTML as plain text."""
    return re.sub(r"</?\w+>", "", str(text).replace("<br>", "\n"))


def _axis(panel: Axes, letter: str, options: dict) -> None:
    axis = getattr(panel, f"{letter}axis")
    log, span = options.get("type") == "log", options.get("range")
    if log:
        getattr(panel, f"set_{letter}scale")("log")
    if span:
        getattr(panel, f"set_{letter}lim")(*(10.0**end if log else end for end in span))
    if options.get("autorange") == "reversed":
        axis.set_inverted(True)
    if options.get("tickvals"):
        axis.set_ticks(options["tickvals"], [_plain(t) for t in options.get("ticktext", options["tickvals"])])
        axis.set_ticks([], minor=True)
    elif options.get("ticksuffix"):
        axis.set_major_formatter(lambda value, place: f"{value:g}{options['ticksuffix']}")
    if options.get("showgrid") is False:
        axis.grid(False)
    title = options.get("title", {}).get("text")
    if title:
        axis.set_label_text(_plain(title))


def _line(panels: dict, shape: dict) -> None:
    """A line across a panel, as `add_vline` and `add_hline` make it."""
    across = {"x": shape.get("xref", "x").endswith(" domain"), "y": shape.get("yref", "y").endswith(" domain")}
    if shape.get("type") != "line" or across["x"] == across["y"]:
        raise ValueError("only lines across a panel have a still picture: pass one, show(figure, alt, still=...)")
    panel = panels[shape["xref"].split()[0], shape["yref"].split()[0]]
    line = shape.get("line", {})
    look = {"color": line.get("color", "black"), "linestyle": DASHES[line.get("dash", "solid")]}
    (panel.axvline if across["y"] else panel.axhline)(shape["x0" if across["y"] else "y0"], **look)


def _annotation(panels: dict, layout: dict, annotation: dict) -> None:
    """A text at a point of a panel, or the title of one, as `subplot_titles` makes it."""
    place, text = (annotation["x"], annotation["y"]), _plain(annotation["text"])
    if annotation.get("xref") != "paper":
        names = annotation.get("xref", "x"), annotation.get("yref", "y")
        across = "left" if annotation.get("xanchor") == "left" else "center"
        panels[names].text(*place, f" {text}", ha=across, va="center")
        return
    for names, panel in panels.items():
        (left, right), (_, top) = (layout.get(_long(axis), {}).get("domain", (0, 1)) for axis in names)
        if np.allclose(place, ((left + right) / 2, top)):
            panel.set_title(text)
            return
    raise ValueError(f"the annotation {text!r} has no still picture: pass one, show(figure, alt, still=...)")


def _heads(figure: Figure, layout: dict, panels: dict) -> None:
    """Above all panels where sliders and lists stand, below them the names of the curves."""
    handles = {}
    for panel in panels.values():
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if layout.get("showlegend", len(handles) > 1) and handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=min(len(handles), 3))
    stands = []
    for slider in layout.get("sliders", []):
        step = slider["steps"][slider.get("active", 0)]
        stands.append(f"{slider.get('currentvalue', {}).get('prefix', '')}{step['label']}")
    stands += [menu["buttons"][menu.get("active", 0)]["label"] for menu in layout.get("updatemenus", [])]
    if stands:
        figure.suptitle("\n".join(stands), fontsize=plt.rcParams["font.size"])
