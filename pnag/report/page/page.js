// The page: which budget is chosen, and what follows from it.

const slider = byId("budget");

const chosen = () => REPORT.choices[Number(slider.value)];

function showChoice() {
  const choice = chosen();
  byId("budget-value").textContent = `${ms(choice.budget_ms)} ms`;
  const facts = [
    ["Predicted", `${ms(choice.latency_ms)} ms`, choice.interval_ms ? `95 %: ${interval(choice.interval_ms)}` : "no interval: not calibrated"],
    ["Top-1", percent(choice.top1, 2), "by the run’s accuracy model"],
  ];
  const { measured } = choice;
  if (measured) {
    const error = measured.latency_ms / choice.latency_ms - 1;
    facts.push(["Measured", `${ms(measured.latency_ms)} ms`, [measured.ci95_ms ? `95 %: ${interval(measured.ci95_ms)}` : "", `${error < 0 ? "−" : "+"}${percent(Math.abs(error), 1)}`].filter(Boolean).join(", ")]);
  } else if (choice.ops) {
    facts.push(["Measured", "–", "not measured"]);
  }
  if (choice.ops) facts.push(["Multiply-adds", millions(choice.madds), `${millions(choice.params)} parameters`]);
  fillFacts(byId("result"), facts);
  byId("arch").textContent = choice.arch;
  const spoken = `Budget ${ms(choice.budget_ms)} ms: ${ms(choice.latency_ms)} ms predicted, ${measured ? `${ms(measured.latency_ms)} ms measured, ` : ""}top-1 ${percent(choice.top1, 2)}`;
  slider.setAttribute("aria-valuetext", spoken);
  byId("announcement").textContent = spoken;
  drawPicture(choice);
  fillCost(choice);
}

function choose(index) {
  slider.value = index;
  showChoice();
  moveSelection(chosen());
}

function showSample() {
  const name = byId("sample").value;
  const op = REPORT.ops.find((one) => one.key === name);
  const check = REPORT.checks.find((one) => one.arch === name);
  const latencyMs = op ? op.latency_ms : check ? check.measured_ms : null;
  const traces = REPORT.traces[name];
  drawSamples(name, latencyMs);
  const shown = traces.reduce((n, trace) => n + trace.blocks.length, 0);
  const all = traces.reduce((n, trace) => n + trace.n_blocks, 0);
  byId("sample-note").textContent = `${shown} of ${all} blocks, samples as they were read. The dashed line is the table’s ${ms(latencyMs)} ms: the protocol’s estimator, corrected by the canary.${traces.length > 1 ? " Measured more than once: the same configuration, unannounced, or of another sweep." : ""}`;
}

function fillSamples() {
  const known = new Set([...REPORT.ops.map((op) => op.key), ...REPORT.checks.map((check) => check.arch)]);
  const names = [...REPORT.ops.map((op) => op.key), ...Object.keys(REPORT.traces).filter((name) => !REPORT.ops.some((op) => op.key === name)).sort()]
    .filter((name) => REPORT.traces[name] && known.has(name));
  if (!names.length) return;
  byId("samples-section").hidden = false;
  byId("sample").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  byId("sample").addEventListener("change", showSample);
}

function fillProvenance() {
  byId("provenance").replaceChildren(...REPORT.provenance.map(([title, rows]) =>
    element("div", { class: "card" }, element("h3", {}, title),
      element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])))));
}

function drawCharts() {
  drawFrontier(chosen());
  drawChecks();
  drawElsewhere();
  if (!byId("samples-section").hidden) showSample();
}

function begin() {
  byId("device-line").textContent = REPORT.device_line;
  fillFacts(byId("facts"), REPORT.facts);
  slider.max = REPORT.choices.length - 1;
  slider.value = Math.round(slider.max / 2);
  byId("budget-low").textContent = `${ms(REPORT.choices[0].budget_ms)} ms`;
  byId("budget-high").textContent = `${ms(REPORT.choices.at(-1).budget_ms)} ms`;
  byId("frontier-note").textContent = REPORT.frontier_note;
  byId("elsewhere-section").hidden = !Object.keys(REPORT.elsewhere).length;
  drawLegend();
  fillOps();
  fillChecks();
  fillSamples();
  fillProvenance();
  showChoice();
  drawCharts();
  slider.addEventListener("input", () => choose(Number(slider.value)));
  byId("frontier").on("plotly_click", ({ points }) => {
    const index = points.map((point) => point.customdata).find((value) => value !== undefined);
    if (index !== undefined) choose(index);
  });
  byId("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(chosen().arch);
      byId("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(byId("arch")); // without permission, select it instead
    }
    setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  let width = byId("picture").clientWidth;
  new ResizeObserver(([entry]) => {
    if (Math.round(entry.contentRect.width) === width) return;
    width = Math.round(entry.contentRect.width);
    drawPicture(chosen());
  }).observe(byId("picture"));
}

begin();
