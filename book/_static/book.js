// What every page can do: hide its code, say which tables scroll, be printed from dark mode, show what was searched for.
(() => {
  const root = document.documentElement;

  // one switch for all code, remembered from page to page
  const switches = document.querySelectorAll(".code-switch");
  const show = (shown) => {
    root.dataset.code = shown ? "shown" : "hidden";
    for (const button of switches) {
      button.setAttribute("aria-pressed", String(!shown));
      button.title = shown ? "Hide all code" : "Show all code";
    }
  };
  const remembered = () => { try { return localStorage.getItem("book-code"); } catch { return null; } };
  show(remembered() !== "hidden");
  for (const button of switches) {
    button.addEventListener("click", () => {
      show(root.dataset.code === "hidden");
      try { localStorage.setItem("book-code", root.dataset.code); } catch { /* a browser that stores nothing */ }
    });
  }

  // what is wider than its box scrolls, can be reached by keyboard, and says so
  const boxes = "article :is(.cell_output, .cell_output .output, div.math, mjx-container[display], .pst-scrollable-table-container)";
  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth + 2 && getComputedStyle(box).overflowX === "auto";
      if (scrolls === box.classList.contains("scrolls")) continue;
      box.classList.toggle("scrolls", scrolls);
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(mark));
  let later;
  addEventListener("resize", () => { clearTimeout(later); later = setTimeout(mark, 200); });
  document.addEventListener("toggle", mark, true);
  addEventListener("click", () => setTimeout(mark));  // which may open a folded solution

  // the contents mark the section that is read, also on the way up: the theme marks a heading only as it comes into view
  const sections = [...document.querySelectorAll("#pst-page-toc-nav a[href^='#']")]
    .map((link) => [link, document.getElementById(decodeURIComponent(link.hash.slice(1)))]).filter(([, place]) => place);
  let chosen = -Infinity;  // when a link was followed: its section stays marked, also where the page cannot scroll so far
  const markSection = () => {
    if (performance.now() < chosen + 1000) return;
    const read = sections.findLast(([, place]) => place.getBoundingClientRect().top < 0.3 * innerHeight)?.[0];
    for (const [link] of sections) {
      link.classList.toggle("active", link === read);
      if (link === read) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    for (const entry of document.querySelectorAll("#pst-page-toc-nav .toc-entry")) {
      entry.classList.toggle("active", entry.contains(read ?? null));
    }
  };
  if (sections.length) {
    addEventListener("hashchange", () => { chosen = performance.now(); });
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      // after the theme, which looks in the same frame
      requestAnimationFrame(() => setTimeout(() => { waiting = false; markSection(); }));
    }, { passive: true });
  }

  // on paper: the light colours, every picture
  let theme;
  addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    root.dataset.theme = "light";
    for (const image of document.images) image.loading = "eager";
  });
  addEventListener("afterprint", () => {
    if (theme) root.dataset.theme = theme;
    theme = undefined;
  });

  // a result of a search carries the words along
  const results = document.getElementById("search-results");
  if (results && location.protocol === "file:") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
    const why = "These pages were opened from files, and a browser lets no page read another file: so the results are "
      + "titles without excerpts. Served by a web server they have both, for example after python3 -m http.server in this folder.";
    results.before(Object.assign(document.createElement("p"), { className: "no-excerpts", textContent: why }));
  }
  if (results) {
    // an excerpt is of the text, not of buttons and code; what an entry of the index marks is empty, its section is not
    Search.htmlToText = (html, anchor) => {
      const page = new DOMParser().parseFromString(html, "text/html");
      for (const part of page.querySelectorAll(".headerlink, .onlyprint, script, style, .cell_input")) part.remove();
      const place = anchor ? page.querySelector(`article ${anchor}`) : null;
      const found = place?.textContent.trim() ? place : place?.parentElement ?? page.querySelector("article");
      return (found ?? page.body).textContent.trim().replace(/\s+/g, " ");
    };
    const asked = new URLSearchParams(location.search).get("q") ?? "";
    new MutationObserver(() => {
      for (const link of results.querySelectorAll("a[href]:not([href*='highlight='], [href*='#'])")) {
        link.href = `${link.getAttribute("href")}?highlight=${encodeURIComponent(asked)}`;
      }
    }).observe(results, { childList: true, subtree: true });
  }

  // a search leads to the first place of its words, not to the top of the page
  const words = new URLSearchParams(location.search).get("highlight");
  if (words && !location.hash) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const blocks = [...document.querySelectorAll("article :is(p, li, td, th, h2, h3, figcaption, dt)")];
    const hits = (block) => wanted.filter((word) => block.textContent.toLowerCase().includes(word)).length;
    const best = blocks.map((block) => [hits(block), block]).reduce((a, b) => (b[0] > a[0] ? b : a), [0, null])[1];
    if (best) {
      best.closest("details")?.setAttribute("open", "");
      best.classList.add("found");
      addEventListener("load", () => setTimeout(() => best.scrollIntoView({ block: "center" }), 50));
    }
  }
})();
