/* ---------------------------------------------------------------------------- curves */

const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const MOST = PALETTE.length;
const SERIES = { test_top1: "test accuracy (%)", train_top1: "training accuracy (%)", loss: "loss" };

/** Epochs of one seed, from whole steps and their differences. */
function unrolled(run, series) {
  const step = DATA.steps[series] * (series === "loss" ? 1 : 100);
  let sum = 0;
  return (run.curves?.[series] ?? []).map((change, place) => {
    sum += change;
    return { epoch: place + 1, value: sum * step, seed: run.seed };
  });
}

function curves(names, series, width) {
  const seeds = [];
  const means = [];
  names.forEach((name, place) => {
    const cell = DATA.cells[name];
    const runs = cell.seeds.map((run) => unrolled(run, series)).filter((run) => run.length);
    runs.forEach((run) => seeds.push(...run.map((one) => ({ ...one, name, place }))));
    const length = Math.min(...runs.map((run) => run.length));
    for (let at = 0; runs.length && at < length; at++) {
      means.push({ epoch: at + 1, value: d3.mean(runs, (run) => run[at].value), name, place });
    }
  });
  const stroke = (one) => PALETTE[one.place];
  return picture([], {
    width,
    height: 300,
    marginLeft: 48,
    style: { fontSize: "12px", background: "none" },
    ariaLabel: `${SERIES[series]} by epoch: ${names.map((name) => DATA.cells[name].label).join("; ")}`,
    x: { label: "epoch →", tickFormat: (epoch) => (Number.isInteger(epoch) ? epoch : "") },
    y: { label: `↑ ${SERIES[series]}`, grid: true, nice: true },
    marks: [
      Plot.line(seeds, {
        x: "epoch", y: "value", z: (one) => `${one.name} ${one.seed}`, stroke, strokeWidth: 1,
        strokeOpacity: 0.45,
      }),
      Plot.line(means, {
        x: "epoch", y: "value", z: "name", stroke, strokeWidth: 2.5,
      }),
      Plot.tip(means, Plot.pointer({
        x: "epoch", y: "value", fill: "var(--ground)",
        title: (one) => `${DATA.cells[one.name].label}\nepoch ${one.epoch}: ${one.value.toFixed(2)}`,
      })),
    ],
  });
}

const withCurves = () =>
  Object.keys(DATA.cells).filter((name) => DATA.cells[name].seeds.some((run) => run.curves?.loss));

function compared(now) {
  const known = withCurves();
  const asked = now.get("curves")?.split(",").filter((name) => known.includes(name));
  return (asked ?? known.slice(0, 2)).slice(0, MOST);
}

function drawCurves(now) {
  const names = compared(now);
  const series = now.get("series") in SERIES ? now.get("series") : "test_top1";
  for (const radio of $$("#curve-form [name=series]")) radio.checked = radio.value === series;
  const chips = names.map((name, place) =>
    h("li", {},
      h("span", { class: "swatch", style: `background:${PALETTE[place]}` }),
      h("a", { href: `#cell=${encodeURIComponent(name)}`, "data-cell": name }, DATA.cells[name].label),
      h("button", {
        type: "button", "aria-label": `remove ${DATA.cells[name].label}`,
        onclick: () => go({ curves: names.filter((other) => other !== name).join(",") || "none" }),
      }, "×")));
  $("#curve-chips").replaceChildren(...chips);
  const width = Math.min(940, document.documentElement.clientWidth - 48);
  $("#curve-plot").replaceChildren(names.length ? curves(names, series, width) : h("p", {}, "No cell chosen."));
}

function addCurve() {
  const field = $("#curve-form [name=add]");
  const names = compared(state());
  const found = withCurves().find((name) => name === field.value || DATA.cells[name].label === field.value);
  const told = $("#curve-told");
  if (!found) told.textContent = field.value ? `No curves of “${field.value}”.` : "";
  else if (names.length >= MOST) told.textContent = `Six at most; remove one first.`;
  else {
    told.textContent = "";
    field.value = "";
    go({ curves: [...new Set([...names, found])].join(",") });
  }
}

/* ---------------------------------------------------------------------------- inputs x* */

function drawInputs(now) {
  const place = $("#inputs-view");
  if (!place) return;
  const teacher = DATA.inputs[Number(now.get("teacher")) || 0] ?? DATA.inputs[0];
  const steps = teacher.steps;
  const at = Math.min(Number(now.get("step")) || 0, steps.length - 1);
  const step = steps[at];
  $("#inputs-form [name=teacher]").value = String(DATA.inputs.indexOf(teacher));
  const slider = $("#inputs-form [name=step]");
  slider.max = steps.length - 1;
  slider.value = at;
  const name = step.kind === "gradient" ? `γ = ${step.gamma}` : `${step.kind}, γ′ = ${step.gamma}`;
  slider.setAttribute("aria-valuetext", name);
  const told = `${name}: accuracy ${percent(teacher.plain)} → ${percent(step.top1)} %; `
    + `${step.repaired} repaired, ${step.broken} broken`;
  $("#inputs-told").textContent = told;
  const picture = (source, words) =>
    source ? h("img", { src: source, alt: words, width: 56, height: 56 }) : null;
  place.replaceChildren(...step.images.map((image) =>
    h("li", { class: image.repaired ? "tone-for" : "tone-against" },
      picture(image.plain, `test image ${image.index}`),
      picture(image.changed, `test image ${image.index}, reinforced`),
      h("span", {}, `${image.repaired ? "✓" : "✗"} #${image.index}: ${image.before} → ${image.after}`),
      image.repaired ? null : h("span", {}, ` (is ${image.true})`))));
}

/* ---------------------------------------------------------------------------- the drawer */

function openDrawer(name) {
  const drawer = $("#drawer");
  const cell = name && DATA.cells[name];
  if (!cell) {
    if (drawer.open) drawer.close();
    return;
  }
  const list = (content) =>
    h("dl", {}, Object.entries(content).flatMap(([key, value]) => [
      h("dt", {}, key), h("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
    ]));
  const part = (title, ...content) => h("section", {}, h("h3", {}, title), ...content);
  $("#drawer-title").textContent = cell.label;
  $("#drawer-body").replaceChildren(
    h("p", {}, h("code", {}, name)),
    cell.differs.length ? part("Differs from the paper", h("ul", {}, cell.differs.map((one) => h("li", {}, `≠ ${one}`)))) : "",
    part("Seeds", seedTable(cell)),
    cell.seeds.some((run) => run.curves?.loss)
      ? part("Curves", curves([name], "test_top1", Math.min(620, document.documentElement.clientWidth - 72)),
        h("button", {
          type: "button",
          onclick: () => {
            const names = [...new Set([...compared(state()), name])].slice(-MOST);
            go({ cell: null, curves: names.join(",") });
            $("#curves").scrollIntoView();
          },
        }, "Compare with other cells"))
      : "",
    cell.recipe ? part("Recipe", list(cell.recipe)) : "",
    part("Options", list(cell.options)),
    cell.teacher ? part("Teacher", h("a", { href: `#cell=${encodeURIComponent(cell.teacher.cell)}`, "data-cell": cell.teacher.cell },
      `${cell.teacher.cell}, seed ${cell.teacher.seed ?? "of the student"}`)) : "",
    part("Shown in", h("p", {}, cell.items.join(", ") || "no item")),
    part("Make it again", command(cell.command)),
  );
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
}

function seedTable(cell) {
  if (!cell.seeds.length) return h("p", {}, `None of ${cell.wanted} seeds is there.`);
  const head = ["seed", "last epoch %", "best epoch %", "ECE", "training %", "seconds", "commit", "state", "run"];
  const row = (run) => {
    const m = run.metrics ?? {};
    const number = (value, digits) => (value == null ? "–" : value.toFixed(digits));
    const why = run.damaged ? `damaged: ${run.damaged}` : run.stale.length ? `other settings: ${run.stale.join("; ")}` : "as configured";
    const cells = [percent(m.top1), m.best_top1 == null ? "–" : `${percent(m.best_top1)} (${m.best_epoch})`,
      number(m.ece, 4), percent(m.train_top1), number(run.seconds, 0), run.commit ?? "–", why];
    return h("tr", {}, h("th", { scope: "row" }, String(run.seed)), cells.map((text) => h("td", {}, text)),
      h("td", {}, h("a", { href: `${run.folder}/` }, "folder")));
  };
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Seeds" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, cell.seeds.map(row))));
}

function command(text) {
  const said = h("span", { role: "status" });
  return h("p", {}, h("code", {}, text), " ", h("button", {
    type: "button",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        said.textContent = " copied";
      } catch {
        said.textContent = " select and copy it by hand";
      }
    },
  }, "Copy"), said);
}

/* ---------------------------------------------------------------------------- beginning */

function listen() {
  addEventListener("hashchange", show);
  addEventListener("popstate", show);
  addEventListener("beforeprint", () => $$("details").forEach((one) => { one.open = true; }));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-cell]");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    go({ cell: link.dataset.cell }, false);
  });
  $("#drawer").addEventListener("close", () => state().has("cell") && go({ cell: null }));
  $("#drawer-close").addEventListener("click", () => $("#drawer").close());
  $("#filter").addEventListener("input", (event) => {
    const form = event.currentTarget;
    const boxes = $$("[name=word]", form);
    const on = boxes.filter((box) => box.checked).map((box) => box.value);
    go({
      words: on.length === boxes.length ? null : on.join(",") || "none",
      q: form.elements.q.value,
      item: form.elements.item.value,
      rows: form.elements.rows.checked ? 1 : null,
    });
  });
  $("#filter").addEventListener("submit", (event) => event.preventDefault());
  $("#curve-form").addEventListener("submit", (event) => { event.preventDefault(); addCurve(); });
  $$("#curve-form [name=series]").forEach((radio) =>
    radio.addEventListener("change", () => go({ series: radio.value })));
  $("#inputs-form")?.addEventListener("input", (event) => {
    const { teacher, step } = event.currentTarget.elements;
    go({ teacher: teacher.value, step: step.value });
  });
  $$("main [data-epoch]").forEach((button) =>
    button.addEventListener("click", () => go({ epoch: button.dataset.epoch === "best" ? "best" : null })));
  $("#theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.style.colorScheme
      ? root.style.colorScheme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.style.colorScheme = dark ? "light" : "dark";
  });
  $("#print").addEventListener("click", () => print());
  $$("code.command").forEach((code) => code.replaceWith(command(code.textContent)));
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const place of $$(".dots")) delete place.dataset.drawn; // its width has changed
      show();
    }, 150);
  });
}

unpack().then((data) => {
  DATA = data;
  document.documentElement.classList.add("scripted");
  $("#curve-names").replaceChildren(...withCurves().map((name) => h("option", { value: DATA.cells[name].label }, name)));
  listen();
  show();
  document.documentElement.dataset.ready = "yes";
});
