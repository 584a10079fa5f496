// Draws the interactive figures of a page from the data that stand in it: no kernel, no network.
for (const figure of document.querySelectorAll(".plotly-offline")) {
  const { data, layout } = JSON.parse(document.getElementById(`${figure.id}-spec`).textContent);
  // transparent, with a grid to match, and as wide as the page; the colours of dark mode come from book.css
  Object.assign(layout, { autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
  delete layout.width;
  layout.font = { color: "#222", ...layout.font };
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    layout[axis] = { gridcolor: "#ddd", zerolinecolor: "#bbb", ...layout[axis] };
  }
  Plotly.newPlot(figure, data, layout, { displaylogo: false, displayModeBar: false }).then(() => {
    // also when it was drawn inside a closed solution and that opens
    new ResizeObserver(() => figure.offsetWidth && Plotly.Plots.resize(figure)).observe(figure);
  });
}
