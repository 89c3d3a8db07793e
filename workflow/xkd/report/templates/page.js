"use strict";
// Everything that moves on the result page. Its state is the part of the address behind #.

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const tone = (name) => `var(--${name})`;
const percent = (fraction) => (fraction == null ? "–" : (100 * fraction).toFixed(2));
const narrow = () => document.documentElement.clientWidth < 640;
let DATA = null;

/** An element with attributes and children; text is text, never markup. */
function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === false || value == null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** What the page carries: base64 of deflated JSON. */
async function unpack() {
  const bytes = Uint8Array.from(atob($("#data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/* ------------------------------------------------------------------ state in the address */

const state = () => new URLSearchParams(location.hash.slice(1));

/** Change parts of the state; a null removes one. `keep` writes no new entry of the history. */
function go(changes, keep = true) {
  const next = state();
  for (const [key, value] of Object.entries(changes)) {
    if (value == null || value === "") next.delete(key);
    else next.set(key, value);
  }
  const url = `#${next}`;
  if (keep) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  show();
}

function show() {
  const now = state();
  filterClaims(now);
  drawForests(now);
  drawNumbers(now);
  drawCurves(now);
  drawInputs(now);
  openDrawer(now.get("cell"));
}

/**
 * A plot as one picture: what it shows stands in a table beside it, so its parts have no names.
 * Marks labelled "opens" open the cells of this list when they are clicked.
 */
function picture(cells, options) {
  const plot = Plot.plot(options);
  const svg = plot.matches("svg") ? plot : $("svg", plot);
  svg.setAttribute("role", "img");
  for (const group of $$("g", svg)) {
    if (group.getAttribute("aria-label") === "opens" || $("[aria-label=opens]", group)) {
      [...group.children].forEach((mark, place) => {
        if (!cells[place]) return;
        mark.style.cursor = "pointer";
        mark.addEventListener("click", () => go({ cell: cells[place] }, false));
      });
    }
  }
  for (const part of $$("[aria-label], [aria-description]", svg)) {
    part.removeAttribute("aria-label");
    part.removeAttribute("aria-description");
    part.removeAttribute("aria-hidden");
  }
  return plot;
}

/* ---------------------------------------------------------------------------- claims */

function chosen(line, now) {
  const words = now.get("words")?.split(",");
  const text = (now.get("q") ?? "").toLowerCase();
  const whole = `${line.better} ${line.than} ${line.says} ${line.place}`.toLowerCase();
  if (words && !words.includes(line.outcome)) return false;
  if (!now.has("rows") && !line.conclusion) return false;
  return !text || whole.includes(text);
}

function filterClaims(now) {
  const words = now.get("words")?.split(",");
  for (const box of $$("#filter input[name=word]")) {
    box.checked = !words || words.includes(box.value);
  }
  $("#filter [name=rows]").checked = now.has("rows");
  $("#filter [name=item]").value = now.get("item") ?? "";
  if (document.activeElement !== $("#filter [name=q]")) {
    $("#filter [name=q]").value = now.get("q") ?? "";
  }
  let count = 0;
  for (const section of $$(".claims-of")) {
    const item = DATA.items.find((one) => one.name === section.dataset.item);
    const lines = item.claims.filter((line) => chosen(line, now));
    const mine = !now.get("item") || now.get("item") === item.name;
    section.hidden = !mine || lines.length === 0;
    $$("tbody tr", section).forEach((row, place) => {
      row.hidden = !chosen(item.claims[place], now);
    });
    if (!section.hidden) count += lines.length;
  }
  $("#claims-count").textContent = `${count} comparisons shown`;
}

function drawForests(now) {
  for (const section of $$(".claims-of")) {
    const item = DATA.items.find((one) => one.name === section.dataset.item);
    const place = $(".forest", section);
    if (section.hidden) continue;
    const lines = item.claims.filter((line) => chosen(line, now) && line.difference != null);
    const units = [...new Set(lines.map((line) => line.unit))];
    place.replaceChildren(...units.map((unit) => forest(lines.filter((l) => l.unit === unit), unit, item)));
  }
}

function forest(lines, unit, item) {
  const factor = unit === "points" ? 100 : 1;
  const width = Math.min(980, document.documentElement.clientWidth - 48);
  const small = narrow();
  const parts = lines.map((line) => (line.whole ? [] : line.place.split(" · ")));
  const telling = parts.map((mine) => mine.filter((part) => !parts.every((other) => other.includes(part))));
  const rows = lines.map((line, place) => ({
    ...line,
    key: [`${place} ${line.better} > ${line.than}`, telling[place].join(" · ")].filter(Boolean).join(", "),
    x: factor * line.difference,
    x1: line.low == null ? null : factor * line.low,
    x2: line.high == null ? null : factor * line.high,
    paper: line.published == null ? null : factor * line.published,
    colour: tone(line.tone),
  }));
  const named = (row) => row.key.slice(row.key.indexOf(" ") + 1);
  const longest = Math.max(...rows.map((row) => named(row).length));
  const left = small ? 150 : Math.min(Math.round(0.5 * width), 20 + 6.6 * longest);
  const names = { points: "points of accuracy", cosine: "mean cosine", "τ": "Kendall's τ" };
  return picture(rows.map((row) => row.pair[0]), {
    width,
    height: 22 * rows.length + 58,
    marginLeft: left,
    marginRight: small ? 26 : 32 + 6.6 * Math.max(...rows.map((row) => row.outcome.length)),
    marginTop: 8,
    marginBottom: 40,
    style: { fontSize: small ? "10.5px" : "12.5px", background: "none", overflow: "visible" },
    ariaLabel: `${item.number}: differences with 95 % intervals; the table below says the same`,
    x: { label: `difference, ${names[unit] ?? unit} (95 % interval) →`, grid: true, nice: true },
    y: {
      domain: rows.map((row) => row.key),
      label: null,
      tickSize: 0,
      tickFormat: (key, place) => {
        const [text, most] = [named(rows[place]), Math.round((left - 20) / (small ? 5.2 : 6.6))];
        return text.length > most ? `${text.slice(0, most - 1)}…` : text;
      },
    },
    marks: [
      Plot.ruleX([0], { stroke: "currentColor" }),
      Plot.ruleY(rows.filter((row) => row.x1 != null), {
        y: "key", x1: "x1", x2: "x2", stroke: "colour", strokeWidth: 2,
      }),
      Plot.dot(rows, {
        x: "x", y: "key", stroke: "colour", strokeWidth: 2, r: 4.5,
        symbol: (row) => (row.tone === "against" ? "times" : "circle"),
        fill: (row) => (row.tone === "for" ? row.colour : "var(--ground)"),
        ariaLabel: "opens", title: (row) => `${row.better} > ${row.than}, ${row.place}: ${row.ours}; ${row.said}`,
      }),
      Plot.dot(rows.filter((row) => row.paper != null), {
        x: "paper", y: "key", symbol: "diamond", r: 5, stroke: "currentColor", strokeWidth: 1.5,
        title: (row) => `published: ${row.print}`,
      }),
      Plot.text(rows, {
        y: "key", frameAnchor: "right", textAnchor: "start", dx: 10, fill: "colour",
        text: (row) => (small ? row.symbol : `${row.symbol} ${row.outcome}`),
      }),
    ],
  });
}

/* --------------------------------------------------------------------------- numbers */

const epoch = (now) => (now.get("epoch") === "best" ? "best" : "last");

/** Tables and plots of accuracy, of the last epoch or of each run's best. */
function drawNumbers(now) {
  const which = epoch(now);
  document.documentElement.dataset.epoch = which;
  for (const button of $$("[data-epoch]", $("main"))) {
    button.setAttribute("aria-pressed", button.dataset.epoch === which);
  }
  for (const place of $$(".numbers")) {
    const { rows } = DATA.items.find((one) => one.name === place.dataset.item).numbers;
    $(".epoch", place).textContent = `${which} epoch`;
    $$("tbody tr", place).forEach((line, at) => {
      rows[at].cells.forEach((one, column) => {
        const link = $("a", line.children[column + 1]);
        if (link) link.textContent = one[which].text;
      });
    });
  }
  for (const place of $$(".dots")) drawDots(place, which);
}

/** Every method a row: its mean, its interval, its seeds, the published number. */
function drawDots(place, which) {
  if (place.dataset.drawn === which) return;
  place.dataset.drawn = which;
  const { columns, rows } = DATA.items.find((one) => one.name === place.dataset.item).numbers;
  const plots = columns.map((column, at) => {
    const marks = rows
      .map((row) => ({ method: row.method, ...row.cells[at], ...row.cells[at]?.[which] }))
      .filter((one) => one.values?.length || one.paper != null);
    return marks.length < 2 ? null : dots(column, marks, columns.length, which);
  });
  place.replaceChildren(...plots.filter(Boolean));
}

function dots(column, rows, beside, which) {
  const seeds = rows.flatMap((row) => (row.values ?? []).map((value) => ({ ...row, value })));
  const inside = (percent) => percent == null ? null : Math.min(100, Math.max(0, percent));
  const measured = rows.filter((row) => row.values?.length)
    .map((row) => ({ ...row, low: inside(row.low), high: inside(row.high) }));
  const room = document.documentElement.clientWidth - 48;
  return h("figure", {}, h("figcaption", {}, column), picture(measured.map((row) => row.cell), {
    width: Math.min(room, beside === 1 ? 620 : 430),
    height: 20 * rows.length + 52,
    marginLeft: 130,
    marginRight: 16,
    marginTop: 6,
    marginBottom: 38,
    style: { fontSize: "11.5px", background: "none" },
    ariaLabel: `${column}: test accuracy by method, ${which} epoch; the table of numbers says the same`,
    x: { label: `test accuracy, ${which} epoch (%) →`, grid: true, nice: true, ticks: 5 },
    y: { domain: rows.map((row) => row.method), label: null, tickSize: 0 },
    marks: [
      Plot.ruleY(measured.filter((row) => row.low != null), {
        y: "method", x1: "low", x2: "high", stroke: "var(--for)", strokeWidth: 2,
      }),
      Plot.tickX(seeds, { x: "value", y: "method", stroke: "var(--quiet)", inset: 4 }),
      Plot.dot(measured, {
        x: "mean", y: "method", fill: "var(--for)", r: 4,
        ariaLabel: "opens", title: (row) => `${row.method}: ${row.text} (n = ${row.n})`,
      }),
      Plot.dot(rows.filter((row) => row.paper != null), {
        x: "paper", y: "method", symbol: "diamond", r: 5, stroke: "currentColor", strokeWidth: 1.5,
        title: (row) => `published: ${row.published}`,
      }),
    ],
  }));
}
