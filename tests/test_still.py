"""The still picture shows the first state of an interactive figure: its curves, bars, axes, texts and choices."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.text import Text
from plotly.subplots import make_subplots

from lib.notebook import plotly_spec
from lib.still import draw_still


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def still(figure: go.Figure):
    return draw_still(plotly_spec(figure))


def texts(figure) -> list[str]:
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_only_visible_curves_are_drawn_with_their_gaps():
    figure = go.Figure([go.Scatter(x=[0, 1, 2], y=[1, None, 3]), go.Scatter(y=[9, 9], visible=False)])
    figure.add_trace(go.Scatter(y=[9, 9], visible="legendonly"))
    (panel,) = still(figure).axes
    (curve,) = panel.lines
    np.testing.assert_array_equal(curve.get_ydata(), [1, np.nan, 3])


def test_panels_stand_where_the_subplots_stand():
    figure = make_subplots(rows=2, cols=2, subplot_titles=["a", "b", "c", "d"], row_heights=[0.75, 0.25])
    for place in range(4):
        figure.add_trace(go.Bar(x=["one", "two"], y=[place, 1]), row=place // 2 + 1, col=place % 2 + 1)
    drawn = still(figure)
    drawn.canvas.draw()
    boxes = {panel.get_title(): panel.get_position() for panel in drawn.axes}
    assert set(boxes) == set("abcd")
    assert boxes["a"].x1 < boxes["b"].x0 and boxes["a"].y0 > boxes["c"].y1
    assert boxes["a"].height > 2 * boxes["c"].height


def test_bars_carry_their_names_lengths_and_texts():
    figure = go.Figure(go.Bar(x=[1, 20], y=["a<br>b", "c"], orientation="h", text=["<b>1</b>", "20"]))
    (panel,) = still(figure).axes
    assert [bar.get_width() for bar in panel.patches] == [1, 20]
    assert {"a\nb", "c", "1", "20"} <= set(texts(panel.figure))


def test_a_waterfall_adds_up_and_ends_in_its_total():
    steps = go.Waterfall(x=["a", "b", "sum"], y=[3, -1, 0], measure=["relative", "relative", "total"])
    steps.texttemplate = ["%{delta:.1f}", "%{delta:.1f}", "<b>%{final:.2f}</b>"]
    (panel,) = still(go.Figure(steps)).axes
    spans = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in panel.patches]
    assert spans == [(0, 3), (3, 2), (0, 2)]
    assert {"3.0", "-1.0", "2.00"} <= set(texts(panel.figure))


def test_axes_have_their_scale_range_order_and_titles():
    figure = go.Figure(go.Scatter(x=[1, 100], y=["low", "high"]))
    figure.update_xaxes(type="log", range=[-1, 3], title_text="seconds")
    figure.update_yaxes(categoryarray=["high", "low"], autorange="reversed", title_text="level")
    (panel,) = still(figure).axes
    assert panel.get_xscale() == "log"
    np.testing.assert_allclose(panel.get_xlim(), (0.1, 1000))
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("seconds", "level")
    assert panel.yaxis.get_inverted()
    np.testing.assert_array_equal(panel.yaxis.convert_units(["high", "low"]), [0, 1])


def test_lines_and_texts_of_the_layout_are_drawn():
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1])).add_vline(x=0.25).add_hline(y=0.5)
    figure.add_annotation(x=0.25, y=0.5, text="here")
    (panel,) = still(figure).axes
    assert [list(panel.lines[1].get_xdata()), list(panel.lines[2].get_ydata())] == [[0.25, 0.25], [0.5, 0.5]]
    assert " here" in texts(panel.figure)


def test_where_sliders_and_lists_stand_is_said():
    step = [{"label": label, "method": "skip"} for label in ("1", "2")]
    figure = go.Figure(go.Scatter(y=[0, 1]))
    figure.update_layout(sliders=[{"steps": step, "active": 1, "currentvalue": {"prefix": "degree "}}])
    figure.update_layout(updatemenus=[{"buttons": step}])
    assert "degree 2\n1" in texts(still(figure))


def test_names_of_curves_are_drawn_unless_they_are_to_be_hidden():
    figure = go.Figure([go.Scatter(y=[0, 1], name="first"), go.Scatter(y=[1, 0], name="second")])
    assert {"first", "second"} <= set(texts(still(figure)))
    assert "first" not in texts(still(figure.update_layout(showlegend=False)))


@pytest.mark.parametrize(
    "figure",
    [
        go.Figure(go.Pie(values=[1, 2])),
        go.Figure(go.Scatter(y=[1])).add_shape(type="rect", x0=0, x1=1, y0=0, y1=1),
        go.Figure(go.Scatter(y=[1])).add_annotation(xref="paper", yref="paper", x=0.1, y=0.1, text="in a corner"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_way_out(figure):
    with pytest.raises(ValueError, match=r"still=\.\.\."):
        still(figure)
