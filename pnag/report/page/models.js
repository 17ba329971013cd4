// The page of model files that were measured.

const MODEL_COLOURS = ["accent", "measured", "other2", "other1", "cost", "published"];
const N_KINDS = 10;

const colourOf = (i) => colour(MODEL_COLOURS[i % MODEL_COLOURS.length]);

const samplesOf = (model) => model.traces.flatMap((trace) => trace.blocks.flatMap((block) => block.slice(3)));

function fillLatencies() {
  const half = (model) => (model.interval_ms[1] - model.interval_ms[0]) / 2 / model.latency_ms;
  const name = { title: "Model", value: (m) => m.name, show: (m) => m.name };
  sortableTable(byId("latencies"), [
    name,
    numberColumn("ms", (m) => m.latency_ms),
    numberColumn("95 % ±", half, (m) => percent(half(m), 2)),
    numberColumn("Median", (m) => m.median_ms), numberColumn("p90", (m) => m.p90_ms), numberColumn("p99", (m) => m.p99_ms),
    { title: "Verdict", value: (m) => m.verdict, show: verdict },
    numberColumn("Load", (m) => m.load_ms), numberColumn("First run", (m) => m.first_run_ms),
    numberColumn("Memory, MB", (m) => m.peak_memory_mb), numberColumn("Samples", (m) => m.n_samples, (m) => m.n_samples),
  ], REPORT.models, "Latency of each model; headers sort");
}

function fillComparisons() {
  if (!REPORT.comparisons.length) return;
  byId("comparison-section").hidden = false;
  sortableTable(byId("comparisons"), [
    { title: "Model", value: (row) => row.name, show: (row) => row.name },
    { title: "Against", value: (row) => row.first, show: (row) => row.first },
    numberColumn("Difference", (row) => row.ratio - 1, (row) => signed(row.ratio - 1)),
    { title: "99 % interval", value: (row) => row.interval[0] - 1, show: (row) => row.interval.map((end) => signed(end - 1)).join(" to ") },
    { title: "Finding", value: (row) => row.finding, show: finding },
  ], REPORT.comparisons, "Comparisons with the first model; headers sort");
}

function drawComparison() {
  const rows = REPORT.comparisons;
  if (!rows.length) return;
  const share = (ratio) => 100 * (ratio - 1);
  const zero = { type: "line", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, line: { color: colour("quiet"), width: 1 } };
  const trace = {
    name: "over the first", x: rows.map((row) => share(row.ratio)), y: rows.map((row) => plain(row.name)), mode: "markers",
    marker: { size: 10, symbol: "diamond", color: rows.map((_, i) => colourOf(i + 1)) },
    error_x: { type: "data", symmetric: false, color: colour("quiet"), array: rows.map((row) => share(row.interval[1]) - share(row.ratio)), arrayminus: rows.map((row) => share(row.ratio) - share(row.interval[0])) },
    hovertemplate: "%{x:+.2f} %<extra></extra>",
  };
  const chart = layout(`latency over ${plain(rows[0].first)} (%)`, "", { shapes: [zero], showlegend: false });
  chart.yaxis.autorange = "reversed"; // in the order of the table
  drawChart("comparison", [trace], chart);
}

/** A card for each histogram, all of them before any is drawn: together they have their widths. */
function fillDistributions() {
  const known = REPORT.models.filter((model) => model.traces.length);
  byId("distribution-section").hidden = !known.length;
  byId("distributions").append(...known.map((model, i) => element("div", { class: "card" }, element("h3", {}, model.name),
    element("div", { id: `distribution-${i}`, class: "chart short", role: "img", "aria-label": `Histogram of the samples of ${model.name}` }))));
}

/** One histogram a model; the lowest and the highest share of the latency of any are the ends of all. */
function drawDistributions() {
  const known = REPORT.models.filter((model) => model.traces.length);
  const shares = known.flatMap((model) => samplesOf(model).map((value) => value / model.latency_ms));
  known.forEach((model, i) => {
    const range = [Math.min, Math.max].map((end) => shares.reduce((a, b) => end(a, b)) * model.latency_ms);
    const look = { marker: { color: colourOf(REPORT.models.indexOf(model)) } };
    const line = { type: "line", yref: "paper", y0: 0, y1: 1, x0: model.latency_ms, x1: model.latency_ms, line: { color: colour("ink"), width: 1.5, dash: "dash" } };
    const chart = layout("ms", "samples", { shapes: [line], bargap: 0, showlegend: false });
    chart.xaxis.range = range;
    drawChart(`distribution-${i}`, histogram([[samplesOf(model), plain(model.name)]], [look], "ms", range), chart);
  });
}

/** Latency by kind of op; the kinds that are dearest in any model. */
function drawKinds() {
  const known = REPORT.models.filter((model) => model.ops);
  if (!known.length) return;
  const byKind = known.map((model) => {
    const sums = new Map();
    for (const op of model.ops) sums.set(op.kind, (sums.get(op.kind) ?? 0) + op.latency_ms);
    return sums;
  });
  const dearest = (kind) => Math.max(...byKind.map((sums) => sums.get(kind) ?? 0));
  const kinds = [...new Set(byKind.flatMap((sums) => [...sums.keys()]))].sort((a, b) => dearest(b) - dearest(a));
  const shown = kinds.slice(0, N_KINDS);
  const rest = kinds.slice(N_KINDS);
  const traces = known.map((model, i) => ({
    type: "bar", name: plain(model.name), marker: { color: colourOf(REPORT.models.indexOf(model)) }, hovertemplate: "%{x}: %{y:.4g} ms",
    x: [...shown.map(plain), ...(rest.length ? [`${rest.length} others`] : [])],
    y: [...shown.map((kind) => byKind[i].get(kind) ?? 0), ...(rest.length ? [rest.reduce((sum, kind) => sum + (byKind[i].get(kind) ?? 0), 0)] : [])],
  }));
  drawChart("kinds", traces, layout("kind of op", "ms", { barmode: "group", showlegend: true }));
}

function fillModelOps() {
  byId("ops-section").hidden = !REPORT.models.some((model) => model.ops);
  REPORT.models.forEach((model, i) => {
    if (!model.ops) {
      if (model.unavailable.ops) byId("op-tables").append(element("p", { class: "quiet" }, `${model.name} has no ops: ${model.unavailable.ops}`));
      return;
    }
    const table = element("table", { id: `model-ops-${i}` });
    byId("op-tables").append(element("details", { class: "card" }, element("summary", {}, element("h3", {}, `${model.ops.reduce((n, op) => n + op.calls, 0)} ops of ${model.name}`)),
      element("div", { class: "scroll tall-scroll", tabindex: 0, role: "region", "aria-label": `Ops of ${model.name}` }, table)));
    const named = (op) => (op.calls > 1 ? `${op.name} ×${op.calls}` : op.name);
    const ops = model.ops.map((op, at) => ({ ...op, at: at + 1 }));
    sortableTable(table, [
      { title: "Op", value: named, show: named }, { title: "Kind", value: (op) => op.kind, show: (op) => op.kind },
      numberColumn("ms", (op) => op.latency_ms), numberColumn("Share", (op) => op.share, (op) => percent(op.share)), numberColumn("Place", (op) => op.at, (op) => op.at),
    ], ops, `Ops of ${model.name}; headers sort`);
  });
}

/** All samples relative to their model's latency, and the canary beside which they were taken. */
function drawTime() {
  const known = REPORT.models.filter((model) => model.traces.length);
  if (!known.length) return;
  byId("time-section").hidden = false;
  const traces = known.map((model) => {
    const blocks = model.traces.flatMap((trace) => trace.blocks);
    return {
      name: plain(model.name), mode: "markers", hovertemplate: "%{y:+.2f} % after %{x:.1f} s",
      marker: { size: 4, opacity: 0.7, color: colourOf(REPORT.models.indexOf(model)), symbol: blocks.flatMap((b) => b.slice(3).map(() => (b[2] ? "x" : "circle"))) },
      x: blocks.flatMap((b) => b.slice(3).map(() => b[0])), y: blocks.flatMap((b) => b.slice(3).map((value) => 100 * (value / model.latency_ms - 1))),
    };
  });
  const canary = known.flatMap((model) => model.traces.flatMap((trace) => trace.blocks)).filter((b) => b[1] !== null).sort((a, b) => a[0] - b[0]);
  if (canary.length) traces.unshift({ name: "canary", mode: "lines", line: { color: colour("sampled"), width: 1 }, hoverinfo: "skip", x: canary.map((b) => b[0]), y: canary.map((b) => 100 * (b[1] - 1)) });
  drawChart("time", traces, layout("time since the sweep began (s)", "over the latency (%)", { showlegend: true }));
  const count = (what) => known.reduce((n, model) => n + model.traces.reduce((sum, trace) => sum + what(trace), 0), 0);
  byId("time-note").textContent = `${count((trace) => trace.blocks.length)} of ${count((trace) => trace.n_blocks)} blocks, samples as they were read. The canary is a fixed piece of work beside which they were taken; crosses were discarded as throttled.`;
}

function drawCharts() {
  drawComparison();
  drawDistributions();
  drawKinds();
  drawTime();
  drawLoad();
}

fillHeading();
fillLatencies();
fillComparisons();
fillDistributions();
fillModelOps();
fillLoad();
fillProvenance();
drawCharts();
fillContents();
redrawWhereItIsSeen(drawCharts);
