// Brings the interactive figures of a page to life, from data that stand beside it: no kernel, no network.
// Until the reader comes near, and on paper, a figure is its still picture. Its sliders and lists are the browser's own,
// so that keyboard, touch and screen readers work as everywhere.
(() => {
  const statics = new URL(".", document.currentScript.src);
  const near = "300px";
  let count = 0;

  const loads = {};
  const load = (name) => (loads[name] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: new URL(name, statics), onload: resolve, onerror: reject });
    document.head.append(script);
  }));

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  // one step of a slider, one button of a menu: a call of Plotly's
  const apply = (plot, step) => {
    if (step.method && step.method !== "skip") return Plotly[step.method](plot, ...structuredClone(step.args ?? []));
  };

  const slider = (plot, { steps, active = 0, currentvalue = {} }) => {
    const value = element("output", { textContent: steps[active].label });
    const input = element("input", { type: "range", min: 0, max: steps.length - 1, step: 1, value: active });
    const say = () => {
      const { label } = steps[input.value];
      value.textContent = `${label}${currentvalue.suffix ?? ""}`;
      input.setAttribute("aria-valuetext", value.textContent);
    };
    let waiting = false;
    input.addEventListener("input", () => {
      say();
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; apply(plot, steps[input.value]); });
    });
    say();
    const name = (currentvalue.prefix ?? "").trim().replace(/[:=]$/, "") || "step";
    input.setAttribute("aria-label", name);
    input.id = `figure-slider-${++count}`;  // a label without `for` would label the output, which comes first
    return element("label", { className: "figure-slider", htmlFor: input.id }, element("span", { textContent: name }),
      value, input);
  };

  const menu = (plot, { buttons, active = 0, type, name }) => {
    if (type === "buttons") {
      const made = buttons.map((button) => element("button", { type: "button", textContent: button.label,
        onclick: () => apply(plot, button) }));
      return element("div", { className: "figure-buttons" }, ...made);
    }
    const options = buttons.map(({ label }, place) => element("option", { textContent: label, value: place,
      selected: place === active }));
    const select = element("select", { onchange: () => apply(plot, buttons[select.value]) }, ...options);
    return element("label", { className: "figure-choice" }, element("span", { textContent: name ?? "Show" }), select);
  };

  const draw = async (box, name) => {
    await Promise.all([load("vendor/plotly-finance.min.js"), load(`figures/${name}.js`)]);
    const { data, layout, frames, config } = structuredClone(window.bookFigures[name]);
    const { sliders = [], updatemenus = [] } = layout;
    for (const drawn of ["sliders", "updatemenus", "width"]) delete layout[drawn];
    // transparent, with a grid to match, and as wide as the page; the colours of dark mode come from book.css
    Object.assign(layout, { autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
    layout.font = { color: "#222", ...layout.font };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
      layout[axis] = { gridcolor: "#ddd", zerolinecolor: "#bbb", ...layout[axis], fixedrange: true };
    }
    layout.dragmode = false;
    const plot = element("div", { className: "plot" });
    box.append(plot);
    await Plotly.newPlot(plot, { data, layout, frames, config: { displaylogo: false, displayModeBar: false, ...config } });
    const controls = [...updatemenus.map((each) => menu(plot, each)), ...sliders.map((each) => slider(plot, each))];
    if (controls.length) box.before(element("div", { className: "figure-controls" }, ...controls));
    box.classList.add("alive");
    Plotly.Plots.resize(plot);
    // also when it was drawn inside a closed solution and that opens
    new ResizeObserver(() => plot.offsetWidth && Plotly.Plots.resize(plot)).observe(plot);
  };

  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      draw(target, target.dataset.figure).catch(() => target.classList.add("still-only"));
    }
  }, { rootMargin: near });

  for (const cell of document.querySelectorAll('[class*="tag_interactive-"]')) {
    const picture = cell.querySelector(".cell_output img");
    if (!picture) continue;
    const box = element("div", { className: "plotly-offline" });
    box.dataset.figure = cell.className.match(/tag_interactive-(\w+)/)[1];
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", picture.alt);
    picture.replaceWith(box);
    picture.classList.add("still");
    box.append(picture);
    observer.observe(box);
  }
})();
