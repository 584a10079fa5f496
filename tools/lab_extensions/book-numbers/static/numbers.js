// In JupyterLab: a role {glue:text}`name:.2f` in the text is the number that a cell has glued under this name by now.
// jupyterlab-myst knows no such role: it shows "name:.2f", in a span without a class.
(() => {
  const ESCAPED = /\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|(.))/g;  // in a text as Python's repr writes it
  // Python's format(value, spec) for what the book's text uses: [+][,][.digits][f, g or e]
  const format = (text, spec) => {
    if (/^['"]/.test(text)) return text.slice(1, -1).replace(ESCAPED, (all, long, short, character) =>
      character ?? String.fromCharCode(parseInt(long ?? short, 16)));
    if (!spec) return text;
    const [, sign, comma, digits, kind] = spec.match(/^(\+?)(,?)(?:\.(\d+))?([feg]?)$/) ?? [];
    const value = Number(text);
    if (kind === undefined || Number.isNaN(value)) return undefined;
    let shown = String(value);
    if (kind === "f") shown = value.toFixed(digits ?? 6);
    if (kind === "e") shown = exponent(value.toExponential(digits ?? 6));
    if (kind === "g") shown = general(value, Math.max(digits ?? 6, 1));
    if (comma) shown = shown.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
    return sign && value >= 0 ? `+${shown}` : shown;
  };
  const exponent = (shown) => shown.replace(/e([+-])(\d)$/, "e$10$2");  // Python writes two digits at least
  const general = (value, digits) => {
    const power = Number(value.toExponential(digits - 1).split("e")[1]);
    const fixed = -4 <= power && power < digits;
    const [number, tail] = (fixed ? value.toFixed(digits - 1 - power) : value.toExponential(digits - 1)).split("e");
    const short = number.includes(".") ? number.replace(/\.?0+$/, "") : number;
    return tail === undefined ? short : exponent(`${short}e${tail}`);
  };

  // what the cells of a notebook have glued, from their outputs
  const glued = (notebook) => {
    const values = {};
    for (const { model } of notebook.widgets) {
      for (const { metadata, data } of model.type === "code" ? model.sharedModel.getOutputs() : []) {
        const { name, mime_prefix: prefix } = metadata?.scrapbook ?? {};
        if (name) values[name] = [data[`${prefix}text/plain`]].flat().join("");
      }
    }
    return values;
  };

  const show = (notebook) => {
    const roles = [...notebook.node.querySelectorAll(".myst span:not([class])")].filter((span) => !span.childElementCount);
    if (!roles.length) return;
    const values = glued(notebook);
    for (const role of roles) {
      const text = role.textContent === role.dataset.shown ? role.dataset.role : role.textContent;
      const [, name, spec] = text.match(/^(\w+)(?::(.*))?$/) ?? [];
      if (!(name in values)) continue;
      const shown = format(values[name], spec) ?? text;
      Object.assign(role.dataset, { role: text, shown });
      if (role.textContent !== shown) role.firstChild.nodeValue = shown;  // the node stays the one that React knows
    }
  };

  const plugin = {
    id: "book-numbers:plugin",
    autoStart: true,
    activate: ({ docRegistry }) => docRegistry.addWidgetExtension("Notebook", {
      createNew: ({ content: notebook }) => {
        let asked = false;
        const ask = () => {
          if (asked) return;
          asked = true;
          requestAnimationFrame(() => { asked = false; show(notebook); });
        };
        const observer = new MutationObserver(ask);  // a cell is rendered, or an output comes
        observer.observe(notebook.node, { childList: true, subtree: true });
        return { isDisposed: false, dispose: () => observer.disconnect() };
      },
    }),
  };
  // where JupyterLab looks for an extension that is not built into it
  const module = { __esModule: true, default: plugin };
  (globalThis._JUPYTERLAB ??= {})["book-numbers"] = { init: () => {}, get: async () => () => module };
})();
