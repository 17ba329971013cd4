// Tables: the cost of an architecture, the latency table, measured networks.

const shape = (op) => `${op.input.join("×")} → ${op.output.join("×")}`;

function fillCost(choice) {
  const rows = layers(choice);
  byId("cost-card").hidden = !rows.length;
  if (!rows.length) return;
  const total = choice.latency_ms;
  const dearest = Math.max(...rows.map((row) => row.added_ms));
  const cells = (name, what, value, fill) => {
    const bar = element("td", { class: "bar-column" });
    if (value > 0) bar.append(element("span", { class: "bar", style: `width: ${(100 * value) / dearest}%; background: ${fill}` }));
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "shape" }, what),
      element("td", { class: "number" }, value.toFixed(3)), element("td", { class: "number" }, percent(value / total)), bar);
  };
  const body = rows.map((row) => cells(row.place, row.expand ? `k${row.kernel} e${row.expand} · ${shape(row)}` : shape(row), row.added_ms, fillOf(row)));
  if (REPORT.intercept_ms) body.push(cells("Whole network", "constant of the calibration", REPORT.intercept_ms, "var(--fixed)"));
  const table = byId("cost");
  table.tBodies[0].replaceChildren(...body);
  table.tFoot?.remove();
  table.append(element("tfoot", {}, element("tr", {}, element("td", {}, "Sum"), element("td", { class: "shape" }), element("td", { class: "number" }, total.toFixed(3)), element("td"), element("td"))));
}

/**
 * A table whose headers are buttons that sort it.
 * Columns: { title, value(row) to sort by, show(row) -> text or node, number }.
 */
function sortableTable(table, columns, rows, caption) {
  const body = element("tbody");
  const made = rows.map((row) => ({
    row,
    line: element("tr", {}, ...columns.map((column, i) => {
      const shown = column.show(row);
      return element(i === 0 ? "th" : "td", { ...(i === 0 ? { scope: "row" } : {}), ...(column.number ? { class: "number" } : {}) }, shown);
    })),
  }));
  body.append(...made.map((one) => one.line));
  const headers = columns.map((column) => {
    const header = element("th", { scope: "col", ...(column.number ? { class: "number" } : {}) });
    if (!column.value) {
      header.append(element("span", { class: "hidden" }, column.title));
      return header;
    }
    const button = element("button", { type: "button" }, column.title);
    header.setAttribute("aria-sort", "none");
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sorted = [...made].sort((a, b) => compare(column.value(a.row), column.value(b.row)) * (descending ? -1 : 1));
      body.append(...sorted.map((one) => one.line));
    });
    return header;
  });
  table.replaceChildren(element("caption", { class: "hidden" }, caption), element("thead", {}, element("tr", {}, ...headers)), body);
  return made;
}

/** Numbers before what is missing; text in its own order. */
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

const halfWidth = (op) => (op.ci95_ms ? (op.ci95_ms[1] - op.ci95_ms[0]) / 2 / op.latency_ms : null);

function verdict(entry) {
  const text = element("span", { class: `verdict ${entry.verdict}` }, entry.verdict);
  const flags = (entry.flags || []).join(", ").replaceAll("_", " ");
  return flags ? element("span", {}, text, element("span", { class: "flags" }, ` ${flags}`)) : text;
}

function sampleButton(op) {
  if (!REPORT.traces[op.key]) return "";
  const button = element("button", { type: "button", "aria-label": `Samples of ${op.key}` }, "Samples");
  button.addEventListener("click", () => {
    byId("sample").value = op.key;
    showSample();
    byId("samples-section").scrollIntoView();
    byId("sample").focus({ preventScroll: true });
  });
  return button;
}

function fillOps() {
  if (!REPORT.ops.length) return;
  byId("table-section").hidden = false;
  const number = (title, value, show = (op) => ms(value(op))) => ({ title, value, show, number: true });
  const columns = [
    { title: "Op", value: (op) => op.name, show: (op) => op.name },
    { title: "Input", value: (op) => op.input.join("x"), show: (op) => op.input.join("×") },
    { title: "Output", value: (op) => op.output.join("x"), show: (op) => op.output.join("×") },
    number("Mid", (op) => op.mid, (op) => op.mid || ""),
    number("Kernel", (op) => op.kernel, (op) => op.kernel),
    number("Stride", (op) => op.stride, (op) => op.stride),
    number("ms", (op) => op.latency_ms),
    number("95 % ±", halfWidth, (op) => (op.ci95_ms ? percent(halfWidth(op)) : "")),
    { title: "Verdict", value: (op) => op.verdict, show: verdict },
    number("In network", (op) => op.added_ms),
    { title: "Activation", value: (op) => op.activation, show: (op) => op.activation + (op.se ? " + SE" : "") },
    number("Min", (op) => op.min_ms), number("p10", (op) => op.p10_ms), number("Median", (op) => op.median_ms), number("p90", (op) => op.p90_ms),
    number("Samples", (op) => op.n_samples, (op) => op.n_samples),
    { title: "Raw samples", show: sampleButton },
  ];
  const made = sortableTable(byId("ops"), columns, REPORT.ops, "Ops of the latency table; headers sort");
  const filter = () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, line } of made) {
      const text = `${row.key} ${row.name} ${row.verdict} ${row.flags.join(" ")}`.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
      shown += !line.hidden;
    }
    byId("filter-count").textContent = `${shown} of ${made.length} ops`;
  };
  byId("filter").addEventListener("input", filter);
  filter();
  const verdicts = [...new Set(REPORT.ops.map((op) => op.verdict))];
  const counts = verdicts.map((name) => `${REPORT.ops.filter((op) => op.verdict === name).length} ${name}`);
  const floor = REPORT.noise_floor;
  const aa = floor
    ? `A/A noise floor: ${floor.n_repeats} configurations measured twice, unannounced, differ by ${floor.median_pct.toPrecision(2)} % (median) and ${floor.p95_pct.toPrecision(2)} % (95th percentile)${floor.publishable ? "" : "; too much to publish"}.`
    : "This table states no A/A noise floor.";
  byId("noise").textContent = `${aa} Verdicts: ${counts.join(", ")}. “In network” is what the op adds to a prediction, calibration included.`;
  const failures = Object.entries(REPORT.failures);
  if (failures.length) byId("failures").append(element("h3", {}, "Failures"), element("ul", {}, ...failures.map(([key, why]) => element("li", {}, element("code", {}, key), ` ${why}`))));
}

function fillChecks() {
  if (!REPORT.checks.length) return;
  byId("checks-section").hidden = false;
  const number = (title, value, show) => ({ title, value, show, number: true });
  const error = (check) => check.measured_ms / check.predicted_ms - 1;
  sortableTable(byId("checks-table"), [
    { title: "Architecture", value: (c) => c.arch, show: (c) => element("code", {}, c.arch) },
    number("Predicted ms", (c) => c.predicted_ms, (c) => ms(c.predicted_ms)),
    number("Measured ms", (c) => c.measured_ms, (c) => ms(c.measured_ms)),
    number("Difference", error, (c) => percent(error(c), 2)),
    { title: "Verdict", value: (c) => c.verdict, show: verdict },
    { title: "Fitted", value: (c) => String(c.fitted), show: (c) => (c.fitted ? "yes" : "no") },
  ], REPORT.checks, "Measured networks; headers sort");
  const band = REPORT.choices[0].interval_ms ? "The band is the 95 % conformal interval of predictions. " : "";
  const after = REPORT.checks.filter((check) => !check.fitted).map((check) => Math.abs(error(check)));
  const mean = after.length ? `Measured afterwards: ${after.length} ${after.length === 1 ? "network" : "networks"}, mean absolute error ${percent(after.reduce((a, b) => a + b) / after.length, 2)}. ` : "";
  byId("checks-note").textContent = `${band}${mean}Networks of the table were used to fit the calibration, so they lie nearer to zero than new ones will.`;
}
