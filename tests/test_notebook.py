"""What notebooks share: figures that can be read anywhere, their descriptions, checks and glued values."""

from __future__ import annotations

import base64
import io
import json

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from lib.notebook import check, plotly_spec, show, stored_figure, stored_values

PLOTLY = "application/vnd.plotly.v1+json"


def bundle(shown) -> dict[str, object]:
    return shown._repr_mimebundle_()[0]


def line(fontsize: float = 12, width: float = 4.8):
    figure, ax = plt.subplots(figsize=(width, 3))
    ax.plot([0, 1], [0, 1])
    ax.set_xlabel("time, s", fontsize=fontsize)
    return figure


def test_a_picture_is_described_and_sharp_on_dense_screens():
    data, metadata = show(line(), "A line\n  that rises")._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == "A line that rises"
    assert Image.open(io.BytesIO(data["image/png"])).width >= 2 * metadata["image/png"]["width"]


def test_equal_figures_give_equal_bytes_and_are_closed():
    assert bundle(show(line(), "A line"))["image/png"] == bundle(show(line(), "A line"))["image/png"]
    assert plt.get_fignums() == []


@pytest.mark.parametrize(("fontsize", "width"), [(8.5, 4.8), (11.8, 4.8), (12, 6.4)])
def test_text_too_small_for_a_phone_is_refused_by_its_words(fontsize, width):
    with pytest.raises(
        ValueError, match=r"the text 'time, s' is .* pixels high on a phone .* make the figure narrower"
    ):
        show(line(fontsize, width), "A line")
    assert plt.get_fignums() == []


@pytest.mark.parametrize(("fontsize", "width"), [(11.9, 4.8), (9, 3.6)])
def test_text_that_can_be_read_on_a_phone_passes(fontsize, width):
    figure = line(fontsize, width)
    figure.axes[0].tick_params(labelsize=fontsize)
    assert bundle(show(figure, "A line"))["image/png"]


def test_small_text_that_is_not_drawn_is_no_fault():
    figure = line()
    figure.axes[0].text(0, 0, "hidden", fontsize=5, visible=False)
    figure.axes[0].text(0, 0, " ", fontsize=5)
    assert bundle(show(figure, "A line"))


def test_the_style_sheet_alone_gives_text_that_can_be_read_on_a_phone():
    figure, ax = plt.subplots()
    ax.plot([1, 10], [1, 10], label="a curve")
    ax.set(xscale="log", xlabel="x", ylabel="y", title="a title")
    ax.legend()
    assert bundle(show(figure, "A line"))


@pytest.mark.parametrize("alt", ["", " \n"])
def test_a_figure_without_description_is_refused(alt):
    with pytest.raises(ValueError, match="alt is empty"):
        show(line(), alt)
    plt.close("all")


def test_what_is_no_figure_is_refused():
    with pytest.raises(TypeError, match="must be a Matplotlib or a Plotly figure, got int"):
        show(1, "A number")


# interactive figures


def interactive() -> go.Figure:
    figure = go.Figure(go.Scatter(x=np.array([0.0, 1.0, 2.0]), y=np.array([1 / 3, np.nan, 2.0])))
    steps = [{"label": str(n), "method": "restyle", "args": [{"visible": [True]}]} for n in range(3)]
    return figure.update_layout(sliders=[{"active": 1, "steps": steps, "currentvalue": {"prefix": "n = "}}])


def test_an_interactive_figure_has_a_still_picture_and_its_description_wherever_it_cannot_move():
    data, metadata = show(interactive(), "Three points")._repr_mimebundle_()
    assert set(data) == {PLOTLY, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"] == "Three points"
    picture = np.asarray(Image.open(io.BytesIO(data["image/png"])).convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10  # something is drawn


def test_a_still_picture_of_ones_own_stands_for_the_figure():
    still, own = bundle(show(line(), "A line"))["image/png"], line()
    assert bundle(show(interactive(), "Three points", still=own))["image/png"] == still


def test_a_drag_over_an_interactive_figure_moves_the_page_and_not_its_axes():
    layout = plotly_spec(interactive().update_layout(xaxis2={"domain": [0, 1]}, yaxis2={"title": "y"}))["layout"]
    assert layout["dragmode"] is False
    assert [layout[axis]["fixedrange"] for axis in ("xaxis", "yaxis", "xaxis2", "yaxis2")] == [True] * 4


def test_frames_are_kept():
    figure = interactive()
    figure.frames = [go.Frame(name="a", data=[go.Scatter(y=[1, 2, 3])])]
    assert [frame["name"] for frame in plotly_spec(figure)["frames"]] == ["a"]


def test_numbers_of_an_interactive_figure_stand_in_lists_and_survive_javascript():
    spec = plotly_spec(interactive())
    assert spec["data"][0]["x"] == [0, 1, 2]
    assert spec["data"][0]["y"] == [0.333333, None, 2]
    through_javascript = json.loads(json.dumps(spec), parse_float=lambda digits: float(digits))
    assert json.dumps(through_javascript) == json.dumps(spec)
    assert ".0," not in json.dumps(spec) and "NaN" not in json.dumps(spec)


def test_numbers_that_differ_by_rounding_give_the_same_figure():
    near = go.Figure(go.Scatter(y=np.array([1 + 1e-12, 0.1 + 0.2])))
    exact = go.Figure(go.Scatter(y=np.array([1.0, 0.3])))
    assert plotly_spec(near) == plotly_spec(exact)


# what other pages have stored


@pytest.fixture
def page(tmp_path):
    """A stored notebook that glues a number and a word, and shows a figure that moves."""
    cells = [nbformat.v4.new_code_cell("glue_values(n=2.5, word='two')"), nbformat.v4.new_code_cell("show(figure)")]
    for name, value in (("n", "2.5"), ("word", "'two'")):
        data, metadata = {"application/papermill.record/text/plain": value}, {"scrapbook": {"name": name}}
        cells[0].outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))
    data, metadata = show(interactive(), "Three points")._repr_mimebundle_()
    data["image/png"] = base64.b64encode(data["image/png"]).decode()
    cells[1].outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))
    cells[1].metadata["mystnb"] = {"figure": {"name": "fig-points"}}
    path = tmp_path / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_values_that_another_page_has_glued_are_read_with_their_types(page):
    assert stored_values(page) == {"n": 2.5, "word": "two"}


def test_a_figure_of_another_page_is_shown_again_as_it_is_there(page):
    spec, alt = stored_figure(page, "fig-points")
    assert alt == "Three points"
    assert bundle(show(go.Figure(spec), alt)) == bundle(show(interactive(), alt))


def test_a_figure_that_the_other_page_lacks_is_named(page):
    with pytest.raises(KeyError, match="shows no interactive figure named fig-x"):
        stored_figure(page, "fig-x")


# checks


def test_a_statement_that_does_not_hold_stops_the_notebook():
    with pytest.raises(AssertionError, match="one is two: False"):
        check("one is two", False)


@pytest.mark.parametrize("holds", ["False", [False, True], lambda: False, None, 0, np.array([True, False])])
def test_what_is_neither_true_nor_false_does_not_pass_for_true(holds):
    with pytest.raises(ValueError, match=r"holds must be True or False|can only convert an array of size 1"):
        check("some are true", holds)


@pytest.mark.parametrize("holds", [True, np.True_, np.array(True), pd.Series([1, 2]).is_monotonic_increasing])
def test_a_statement_holds_by_any_kind_of_true(holds, capsys):
    check("one is one", holds)
    assert capsys.readouterr().out == "check: one is one: True\n"
