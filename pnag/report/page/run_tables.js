// Tables of a run: the cost of an architecture, the latency table, measured networks.

const shape = (op) => `${op.input.join("×")} → ${op.output.join("×")}`;

function fillCost(choice) {
  const rows = layers(choice);
  byId("cost-card").hidden = !rows.length;
  if (!rows.length) return;
  const total = choice.latency_ms;
  const dearest = Math.max(...rows.map((row) => row.added_ms), REPORT.intercept_ms, choice.waiting_ms);
  const cells = (name, what, value, fill) => {
    const bar = element("td", { class: "bar-column" });
    if (value > 0) bar.append(element("span", { class: "bar", style: `width: ${(100 * value) / dearest}%; background: ${fill}` }));
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "shape" }, what),
      element("td", { class: "number" }, value.toFixed(3)), element("td", { class: "number" }, percent(value / total)), bar);
  };
  const body = rows.map((row) => cells(row.place, row.expand ? `k${row.kernel} e${row.expand} · ${shape(row)}` : shape(row), row.added_ms, fillOf(row)));
  if (REPORT.intercept_ms) body.push(cells("Whole network", "constant of the calibration", REPORT.intercept_ms, "var(--fixed)"));
  if (choice.waiting_ms) body.push(cells("Whole network", "waiting for launches", choice.waiting_ms, "var(--fixed)"));
  const table = byId("cost");
  table.tBodies[0].replaceChildren(...body);
  table.tFoot?.remove();
  csvButton(table, "cost of each op", () => [["op", "shape", "ms", "share"], layers(chosen()).map((row) => [row.place, shape(row), row.added_ms, row.added_ms / chosen().latency_ms])]);
  table.append(element("tfoot", {}, element("tr", {}, element("td", {}, "Sum"), element("td", { class: "shape" }), element("td", { class: "number" }, total.toFixed(3)), element("td"), element("td"))));
}

const halfWidth = (op) => (op.ci95_ms ? (op.ci95_ms[1] - op.ci95_ms[0]) / 2 / op.latency_ms : null);

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

/** What tells the op from others, in the column that stays in sight. */
const opLabel = (op) => element("span", {}, op.name, element("small", {}, [op.kernel > 1 && `k${op.kernel}`, op.stride > 1 && `s${op.stride}`, shape(op)].filter(Boolean).join(" ")));

const opColumns = [
  { title: "Op", value: (op) => op.key, show: opLabel },
  numberColumn("ms", (op) => op.latency_ms),
  numberColumn("95 % ±", halfWidth, (op) => (op.ci95_ms ? percent(halfWidth(op)) : "")),
  numberColumn("In network", (op) => op.added_ms),
  { title: "Verdict", value: (op) => op.verdict, show: verdict },
  { title: "Input", value: (op) => op.input.join("x"), show: (op) => op.input.join("×"), detail: true },
  { title: "Output", value: (op) => op.output.join("x"), show: (op) => op.output.join("×"), detail: true },
  numberColumn("Mid", (op) => op.mid, (op) => op.mid || ""),
  numberColumn("Kernel", (op) => op.kernel, (op) => op.kernel, { detail: true }),
  numberColumn("Stride", (op) => op.stride, (op) => op.stride, { detail: true }),
  { title: "Activation", value: (op) => op.activation + (op.se ? " + SE" : ""), show: (op) => op.activation + (op.se ? " + SE" : "") },
  ...[["Min", "min_ms"], ["p10", "p10_ms"], ["Median", "median_ms"], ["p90", "p90_ms"]].map(([title, name]) =>
    numberColumn(title, (op) => op[name], (op) => ms(op[name]), { detail: true })),
  numberColumn("Samples", (op) => op.n_samples, (op) => op.n_samples, { detail: true }),
  { title: "Raw samples", show: sampleButton, detail: true },
];

function fillOps() {
  if (!REPORT.ops.length) return;
  byId("table-section").hidden = false;
  const made = sortableTable(byId("ops"), opColumns, REPORT.ops, "Ops of the latency table; headers sort");
  const filter = () => {
    const shown = filterRows(made, byId("filter").value, (op) => `${op.key} verdict:${op.verdict}`);
    byId("filter-count").textContent = `${shown} of ${made.length} ops`;
  };
  byId("filter").addEventListener("input", filter);
  filter();
  const floor = REPORT.noise_floor;
  const aa = floor
    ? `A/A noise floor: ${floor.n_repeats} configurations measured twice, unannounced, differ by ${floor.median_pct.toPrecision(2)} % (median) and ${floor.p95_pct.toPrecision(2)} % (95th percentile)${floor.publishable ? "" : "; too much to publish"}.`
    : "This table states no A/A noise floor.";
  byId("noise").textContent = `${aa} “In network” is what the op adds to a prediction, calibration included.`;
  fillVerdicts(filter);
  const failures = Object.entries(REPORT.failures);
  if (failures.length) byId("failures").append(element("h3", {}, "Failures"), element("ul", {}, ...failures.map(([key, why]) => element("li", {}, element("code", {}, key), ` ${why}`))));
}

/** How many ops have each verdict; each count is a link that shows these alone. */
function fillVerdicts(filter) {
  const counts = Object.entries(Object.groupBy(REPORT.ops, (op) => op.verdict)).map(([name, ops]) => {
    const link = element("a", { href: "#ops", class: `verdict ${name}` }, `${ops.length} ${name}`);
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the table is in sight; the page stays where it is
      byId("filter").value = `verdict:${name}`;
      filter();
    });
    return link;
  });
  byId("verdicts").replaceChildren("Verdicts: ", ...counts.flatMap((link, i) => (i ? [", ", link] : [link])), ".");
}

function fillChecks() {
  if (!REPORT.checks.length) return;
  byId("checks-section").hidden = false;
  const error = (check) => check.measured_ms / check.predicted_ms - 1;
  sortableTable(byId("checks-table"), [
    { title: "Architecture", value: (c) => c.arch, show: (c) => element("code", {}, c.arch) },
    numberColumn("Predicted ms", (c) => c.predicted_ms, (c) => ms(c.predicted_ms)),
    numberColumn("Measured ms", (c) => c.measured_ms, (c) => ms(c.measured_ms)),
    numberColumn("Difference", error, (c) => percent(error(c), 2)),
    { title: "Verdict", value: (c) => c.verdict, show: verdict },
    { title: "Of the table", value: (c) => String(c.fitted), show: (c) => (c.fitted ? "yes" : "no") },
  ], REPORT.checks, "Measured networks; headers sort");
  const band = REPORT.choices[0].interval_ms ? "The band is the 95 % conformal interval of predictions. " : "";
  const after = REPORT.checks.filter((check) => !check.fitted).map((check) => Math.abs(error(check)));
  const mean = after.length ? `Measured afterwards: ${after.length} ${after.length === 1 ? "network" : "networks"}, mean absolute error ${percent(after.reduce((a, b) => a + b) / after.length, 2)}. ` : "";
  byId("checks-note").textContent = `${band}${mean}Networks of the table are each predicted by a calibration fitted to the others, as new ones would be.`;
}
