"use strict";
(() => {
  const root = document.documentElement;
  const media = matchMedia("(prefers-color-scheme: dark)");
  const source = document.getElementById("data");
  const data = source ? JSON.parse(source.textContent) : { charts: {}, config: {} };

  // --- theme -----------------------------------------------------------------------------------------------------
  const names = { "": "as the system", light: "light", dark: "dark" };
  const order = Object.keys(names);
  const keep = {
    get() { try { return localStorage.getItem("collapse-theme") || ""; } catch { return ""; } },
    set(value) { try { localStorage.setItem("collapse-theme", value); } catch { /* files may have no storage */ } },
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
  const setTheme = (value) => {
    if (value in names && value) root.dataset.theme = value; else delete root.dataset.theme;
    button.querySelector("span").textContent = names[root.dataset.theme || ""];
    redraw();
  };
  const button = document.getElementById("theme");

  // --- charts ----------------------------------------------------------------------------------------------------
  const drawn = new Map();
  const hasChoice = (spec) => Boolean(spec.params?.some((one) => one.name === "shown"));
  const draw = async (place) => {
    const id = place.dataset.chart;
    const before = drawn.get(place);
    const spec = { ...data.charts[id] };
    if (before && hasChoice(spec)) {
      const chosen = before.view.signal("shown");
      spec.params = spec.params.map((one) => (one.name === "shown" ? { ...one, value: chosen } : one));
    }
    before?.finalize();
    const config = structuredClone(isDark() ? data.config.dark : data.config.light);
    if (place.clientWidth < 480) config.legend.columns = 2;
    const options = {
      ast: true, // expressions are interpreted, so that the page needs no leave to evaluate text
      renderer: "svg",
      config,
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
      downloadFileName: id,
      tooltip: { theme: isDark() ? "dark" : "light" },
    };
    try {
      const result = await vegaEmbed(place, spec, options);
      drawn.set(place, result);
      place.style.minHeight = ""; // it only kept the room
      describe(place);
      if (id === "me-ppl") listen(result.view, hasChoice(spec));
    } catch (error) {
      place.textContent = `This chart could not be drawn: ${error.message}`;
    }
  };
  // The figure has a heading and its words; thousands of points read out one by one are no help.
  const describe = (place) => {
    const picture = place.querySelector("svg.marks");
    for (const name of ["role", "aria-roledescription", "aria-label"]) picture.parentElement.removeAttribute(name);
    picture.setAttribute("aria-hidden", "true");
    const title = place.closest("figure").querySelector("h3").textContent;
    place.querySelector("summary")?.setAttribute("aria-label", `Save the chart: ${title}`);
  };
  const redraw = () => [...drawn.keys()].forEach(draw);
  const places = [...document.querySelectorAll("[data-chart]")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "600px" });
  addEventListener("beforeprint", () => places.filter((one) => !drawn.has(one)).forEach(draw));

  // --- tables ----------------------------------------------------------------------------------------------------
  const number = (text) => {
    if (text === "nan") return [2, 0];
    if (text === "inf") return [1, 0];
    return [0, text === "-inf" ? -Infinity : Number(text)];
  };
  const key = (cell) => cell.dataset.key ?? cell.textContent.trim();
  const compare = (numeric) => (one, other) => {
    if (!numeric) return one.localeCompare(other, "en", { numeric: true });
    const [a, b] = [number(one), number(other)];
    return a[0] - b[0] || (a[1] === b[1] ? 0 : a[1] < b[1] ? -1 : 1);
  };
  const quoted = (cell, numeric) => {
    let text = cell.dataset.full ?? (numeric && cell.dataset.key !== "-inf" ? cell.dataset.key : undefined) ?? cell.textContent.trim();
    // A spreadsheet would take these for formulas.
    if (!numeric && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return `"${text.replaceAll('"', '""')}"`;
  };

  class Table {
    constructor(box) {
      this.box = box;
      this.body = box.querySelector("tbody");
      this.rows = [...this.body.rows];
      this.heads = [...box.querySelectorAll("thead th")];
      this.inBrush = null;
      this.search = box.querySelector("[data-filter]");
      this.tools = box.querySelector(".tools");
      this.tools.hidden = false;
      this.search.addEventListener("input", () => this.filter());
      box.querySelector("[data-csv]").addEventListener("click", () => this.export());
      this.again = box.querySelector("[data-all]");
      this.release = () => this.brush(null); // a chart that chooses rows lets go of its part, too
      this.again.addEventListener("click", () => this.release());
      this.heads.forEach((head, index) => this.makeSortable(head, index));
      this.makeVerdicts();
      this.filter();
    }

    makeSortable(head, index) {
      const label = head.querySelector("span");
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.textContent = label.textContent;
      label.replaceWith(sorter);
      sorter.addEventListener("click", () => this.sort(head, index));
    }

    makeVerdicts() {
      this.column = this.heads.findIndex((head) => head.textContent === "verdict");
      const label = this.box.querySelector("[data-verdicts]");
      this.verdict = label.querySelector("select");
      if (this.column < 0) return;
      for (const verdict of new Set(this.rows.map((row) => row.cells[this.column].textContent.trim()))) {
        this.verdict.add(new Option(verdict, verdict));
      }
      label.hidden = false;
      this.verdict.addEventListener("change", () => this.filter());
    }

    sort(head, index) {
      const numeric = head.classList.contains("n");
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const direction = head.getAttribute("aria-sort") === first ? second : first;
      this.heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const by = compare(numeric);
      const sign = direction === "ascending" ? 1 : -1;
      const keys = new Map(this.rows.map((row) => [row, key(row.cells[index])]));
      this.rows.sort((one, other) => sign * by(keys.get(one), keys.get(other)));
      this.body.append(...this.rows);
    }

    brush(inside) {
      this.inBrush = inside;
      this.again.hidden = inside === null;
      this.filter();
    }

    filter() {
      const words = this.search.value.toLowerCase();
      const verdict = this.verdict.value;
      let count = 0;
      for (const row of this.rows) {
        const shown =
          (!words || row.textContent.toLowerCase().includes(words)) &&
          (!verdict || row.cells[this.column].textContent.trim() === verdict) &&
          (this.inBrush === null || this.inBrush(row.dataset.mark));
        row.hidden = !shown;
        count += shown;
      }
      const total = this.rows.length;
      const text = `${count.toLocaleString("en")} of ${total.toLocaleString("en")} rows`;
      this.box.querySelector("[data-count]").textContent = this.inBrush ? `${text}, in the part of the chart` : text;
    }

    export() {
      const numeric = this.heads.map((head) => head.classList.contains("n"));
      const lines = [this.heads.map((head) => `"${head.textContent.trim().replaceAll('"', '""')}"`)];
      for (const row of this.rows) {
        if (!row.hidden) lines.push([...row.cells].map((cell, index) => quoted(cell, numeric[index])));
      }
      const text = lines.map((line) => line.join(",")).join("\r\n");
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" }));
      link.download = `${this.box.dataset.table}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }
  }
  const tables = new Map([...document.querySelectorAll("[data-table]")].map((box) => [box.dataset.table, new Table(box)]));

  // --- the part of the chart that is chosen ----------------------------------------------------------------------
  const listen = (view, choosable) => {
    const table = tables.get("case-table");
    if (!table) return;
    const within = ([low, high], value) => Math.min(low, high) <= value && value <= Math.max(low, high);
    const update = () => {
      const { number: across, place: up } = view.signal("brush") ?? {};
      if (!across || !up) return table.brush(null);
      const chosen = choosable ? view.signal("shown") : "all";
      table.brush((mark) => {
        if (!mark) return false;
        const [first, second, ...group] = mark.split("|");
        return within(across, Number(first)) && within(up, Number(second)) && (chosen === "all" || group.join("|") === chosen);
      });
    };
    view.addSignalListener("brush", update);
    if (choosable) view.addSignalListener("shown", update);
    table.release = () => view.signal("brush_x", []).signal("brush_y", []).run();
    update(); // a chart that is drawn anew has no part chosen
  };

  // --- sections of cases -----------------------------------------------------------------------------------------
  const unfold = () => {
    const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
    if (target?.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", unfold);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#case-"]');
    if (link && link.hash === location.hash) unfold(); // the address does not change, so nothing else tells
  });
  for (const copy of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) break; // nor has every browser one for files
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(copy.previousElementSibling.textContent);
      copy.textContent = "copied";
    });
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
    keep.set(next);
    setTheme(next);
  });
  media.addEventListener("change", redraw);
  setTheme(keep.get());
  places.forEach((place) => watcher.observe(place));
  unfold();
})();
