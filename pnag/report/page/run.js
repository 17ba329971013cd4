// The page of a run: which budget is chosen, and what follows from it.

const slider = byId("budget");

const chosen = () => REPORT.choices[Number(slider.value)];

let typedMs = null; // a budget between those of the slider

const budgetMs = () => typedMs ?? chosen().budget_ms;

function showChoice() {
  const choice = chosen();
  byId("budget-value").textContent = `${ms(budgetMs())} ms`;
  const facts = [
    ["Predicted", `${ms(choice.latency_ms)} ms`, choice.interval_ms ? `95 %: ${interval(choice.interval_ms)}` : "no 95 % interval: too few measured networks"],
    ["Top-1", percent(choice.top1, 2), choice.top1_interval ? `95 %: ${choice.top1_interval.map((end) => percent(end, 2)).join(" – ")}` : "by the run’s accuracy model"],
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
  const spoken = `Budget ${ms(budgetMs())} ms: ${ms(choice.latency_ms)} ms predicted, ${measured ? `${ms(measured.latency_ms)} ms measured, ` : ""}top-1 ${percent(choice.top1, 2)}`;
  slider.setAttribute("aria-valuetext", spoken);
  byId("announcement").textContent = spoken;
  drawPicture(choice);
  fillCost(choice);
}

function choose(index, typed = null) {
  slider.value = index;
  typedMs = typed;
  if (typed === null) { byId("typed").value = ""; byId("typed-note").textContent = ""; }
  showChoice();
  moveSelection(chosen());
}

/** For a typed budget, the most accurate of the architectures that are within it. */
function chooseTyped() {
  const typed = byId("typed").valueAsNumber;
  if (!(typed > 0)) return;
  const within = REPORT.choices.filter((choice) => choice.latency_ms <= typed);
  if (!within.length) {
    byId("typed-note").textContent = `Nothing is within ${ms(typed)} ms; the cheapest takes ${ms(Math.min(...REPORT.choices.map((c) => c.latency_ms)))} ms.`;
    return;
  }
  const best = within.reduce((a, b) => (b.top1 > a.top1 ? b : a));
  byId("typed-note").textContent = `The best of ${REPORT.choices.length} within ${ms(typed)} ms; pnag generate makes one for this very budget.`;
  choose(REPORT.choices.indexOf(best), typed);
}

function showSample() {
  const name = byId("sample").value;
  const op = REPORT.ops.find((one) => one.key === name);
  const checks = REPORT.checks.filter((one) => one.arch === name);
  const check = checks.find((one) => one.fitted) ?? checks[0]; // the table's, not what came later
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

function drawCharts() {
  drawFrontier(chosen());
  drawBeside();
  drawChecks();
  drawElsewhere();
  drawLoad();
  if (!byId("samples-section").hidden) showSample();
}

function begin() {
  fillHeading();
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
  fillLoad();
  fillBeside();
  fillProvenance();
  fillContents();
  showChoice();
  drawCharts();
  slider.addEventListener("input", () => choose(Number(slider.value)));
  byId("typed").addEventListener("input", chooseTyped);
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
  redrawWhereItIsSeen(() => { drawCharts(); drawPicture(chosen()); });
  let width = byId("picture").clientWidth;
  new ResizeObserver(([entry]) => {
    if (Math.round(entry.contentRect.width) === width) return;
    width = Math.round(entry.contentRect.width);
    drawPicture(chosen());
  }).observe(byId("picture"));
}

begin();
