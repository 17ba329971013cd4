// Charts of a run.

const percents = (shares) => shares.map((share) => 100 * share);

const hover = "%{x:.4g} ms, %{y:.2f} %";

function frontierTraces() {
  const cloud = {
    name: "sampled", x: REPORT.sampled[0], y: percents(REPORT.sampled[1]), mode: "markers",
    marker: { size: 3, color: colour("sampled") }, hoverinfo: "skip",
  };
  const dashes = ["dot", "dash", "dashdot"];
  const baselines = Object.entries(REPORT.baselines).map(([name, points], i) => ({
    name, x: points.latency_ms, y: percents(points.top1), mode: "lines",
    line: { color: colour(`other${i + 1}`), dash: dashes[i], width: 1.75, shape: "hv" }, hovertemplate: hover,
  }));
  const choices = REPORT.choices;
  const generated = {
    name: "generated", x: choices.map((c) => c.latency_ms), y: choices.map((c) => 100 * c.top1),
    mode: "markers", marker: { size: 6, color: colour("accent") },
    customdata: choices.map((_, i) => i), hovertemplate: hover,
  };
  const best = {
    x: REPORT.generated.latency_ms, y: percents(REPORT.generated.top1), mode: "lines",
    line: { color: colour("accent"), width: 2 }, showlegend: false, hoverinfo: "skip",
  };
  const traces = [cloud, ...baselines, best, generated];
  const measured = choices.filter((c) => c.measured);
  if (measured.length) {
    const ends = measured.map((c) => c.measured.ci95_ms);
    traces.push({
      name: "measured", x: measured.map((c) => c.measured.latency_ms), y: measured.map((c) => 100 * c.top1),
      mode: "markers", marker: { size: 10, symbol: "diamond", color: colour("measured"), line: { width: 1.5, color: colour("card") } },
      error_x: {
        type: "data", symmetric: false, color: colour("measured"),
        array: ends.map((e, i) => (e ? e[1] - measured[i].measured.latency_ms : 0)),
        arrayminus: ends.map((e, i) => (e ? measured[i].measured.latency_ms - e[0] : 0)),
      },
      hovertemplate: hover,
    });
  }
  if (REPORT.published.length) traces.push(publishedTrace(REPORT.published, "published"));
  return traces;
}

function publishedTrace(networks, name) {
  return {
    name, x: networks.map((n) => n.latency_ms), y: networks.map((n) => 100 * n.top1), text: networks.map((n) => plain(n.name)),
    mode: "markers", marker: { symbol: "square", size: 8, color: colour("published") }, hovertemplate: `%{text}: ${hover}`,
  };
}

function selection(choice) {
  return {
    shapes: [{ type: "line", x0: budgetMs(), x1: budgetMs(), yref: "paper", y0: 0, y1: 1, line: { color: colour("accent"), width: 1.5, dash: "dash" } }],
    annotations: [{
      x: choice.latency_ms, y: 100 * choice.top1, text: `${percent(choice.top1, 2)}`, showarrow: true, arrowhead: 0, ax: -34, ay: -28,
      arrowcolor: colour("accent"), font: { color: colour("ink"), size: 12 }, bgcolor: colour("card"), bordercolor: colour("accent"), borderpad: 3,
    }],
  };
}

function drawFrontier(choice) {
  const low = Math.min(...REPORT.choices.map((c) => c.top1), ...REPORT.published.map((n) => n.top1));
  const searched = Object.values(REPORT.baselines).flatMap((points) => points.top1);
  const high = Math.max(...REPORT.choices.map((c) => c.top1), ...REPORT.published.map((n) => n.top1), ...searched);
  const room = 0.12 * (high - low) || 0.01;
  const chart = layout("latency (ms)", "top-1 (%)", selection(choice));
  chart.yaxis.range = [100 * (low - room), 100 * (high + room)];
  chart.xaxis.range = latencyRange(); // fixed, so that moving the selection redraws only that
  drawChart("frontier", frontierTraces(), chart);
}

function latencyRange() {
  const every = [...REPORT.reachable_ms, ...REPORT.published.map((n) => n.latency_ms), ...REPORT.checks.map((c) => c.measured_ms)];
  const [low, high] = [Math.min(...every), Math.max(...every)];
  return [low - 0.04 * (high - low), high + 0.04 * (high - low)];
}

const moveSelection = (choice) => Plotly.relayout("frontier", {
  "shapes[0].x0": budgetMs(), "shapes[0].x1": budgetMs(),
  "annotations[0].x": choice.latency_ms, "annotations[0].y": 100 * choice.top1, "annotations[0].text": percent(choice.top1, 2),
});

function drawChecks() {
  if (!REPORT.checks.length) return;
  const error = (check) => 100 * (check.measured_ms / check.predicted_ms - 1);
  const group = (fitted, name, look) => {
    const own = REPORT.checks.filter((check) => check.fitted === fitted);
    return {
      name, x: own.map((c) => c.predicted_ms), y: own.map(error), mode: "markers", marker: look,
      error_y: {
        type: "data", symmetric: false, thickness: 1, color: look.color,
        array: own.map((c) => (c.ci95_ms ? 100 * (c.ci95_ms[1] - c.measured_ms) / c.predicted_ms : 0)),
        arrayminus: own.map((c) => (c.ci95_ms ? 100 * (c.measured_ms - c.ci95_ms[0]) / c.predicted_ms : 0)),
      },
      hovertemplate: "%{x:.4g} ms predicted, measured %{y:+.2f} %",
    };
  };
  const half = REPORT.choices[0].interval_ms ? 100 * (REPORT.choices[0].interval_ms[1] / REPORT.choices[0].latency_ms - 1) : null;
  const band = half === null ? [] : [{ type: "rect", xref: "paper", x0: 0, x1: 1, y0: -half, y1: half, fillcolor: colour("accent"), opacity: 0.12, line: { width: 0 }, layer: "below" }];
  const zero = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, line: { color: colour("quiet"), width: 1 } };
  const traces = [
    group(true, "of the table", { symbol: "circle-open", size: 8, color: colour("quiet") }),
    group(false, "measured later", { symbol: "diamond", size: 9, color: colour("measured") }),
  ].filter((trace) => trace.x.length);
  drawChart("checks", traces, layout("predicted latency (ms)", "measured – predicted (%)", { shapes: [...band, zero], showlegend: true }));
}

const samplesOf = (trace) => trace.blocks.flatMap((block) => block.slice(3));

/** Samples and, where there is one, the canary of each block, scaled to the op's latency. */
function drawSamples(name, latencyMs) {
  const colours = ["accent", "other1", "other2"];
  const traces = REPORT.traces[name];
  const repeated = traces.length > 1;
  const dots = traces.map((trace, i) => ({
    name: repeated ? `samples, measurement ${i + 1}` : "samples", mode: "markers", hovertemplate: "%{y:.5g} ms after %{x:.1f} s",
    marker: { size: 5, color: colour(colours[i % 3]), opacity: 0.75, symbol: trace.blocks.flatMap((b) => b.slice(3).map(() => (b[2] ? "x" : "circle"))) },
    x: trace.blocks.flatMap((block) => block.slice(3).map(() => block[0])), y: samplesOf(trace),
  }));
  const canaries = traces.slice(0, 1).filter((trace) => trace.blocks.some((block) => block[1] !== null)).map((trace) => ({
    name: "canary (scaled)", mode: "lines", line: { color: colour("cost"), width: 1 }, hoverinfo: "skip",
    x: trace.blocks.map((block) => block[0]), y: trace.blocks.map((block) => (block[1] === null ? null : block[1] * latencyMs)),
  }));
  const level = (horizontal) => ({
    type: "line", line: { color: colour("measured"), width: 1.5, dash: "dash" },
    ...(horizontal ? { xref: "paper", x0: 0, x1: 1, y0: latencyMs, y1: latencyMs } : { yref: "paper", y0: 0, y1: 1, x0: latencyMs, x1: latencyMs }),
  });
  drawChart("trace", [...canaries, ...dots], layout("time since the sweep began (s)", "ms", { shapes: [level(true)], showlegend: true }));
  const looks = traces.map((_, i) => ({ opacity: repeated ? 0.6 : 0.85, marker: { color: colour(colours[i % 3]) } }));
  const bars = histogram(traces.map((trace, i) => [samplesOf(trace), `measurement ${i + 1}`]), looks, "ms");
  drawChart("histogram", bars, layout("ms", "samples", { shapes: [level(false)], barmode: "overlay", bargap: 0, showlegend: repeated }));
}

function drawElsewhere() {
  const box = byId("elsewhere");
  Object.entries(REPORT.elsewhere).forEach(([device, networks], i) => {
    if (!byId(`elsewhere-${i}`)) {
      const label = `Published networks on ${device}: accuracy against latency`;
      box.append(element("div", { class: "card" }, element("h3", {}, device), element("div", { id: `elsewhere-${i}`, class: "chart", role: "img", "aria-label": label })));
    }
    const trace = { ...publishedTrace(networks, "published"), mode: "markers+text", textposition: "top center", textfont: { size: 10, color: colour("quiet") } };
    drawChart(`elsewhere-${i}`, [trace], layout(`latency (ms) on ${plain(device)}`, "top-1 (%)", { showlegend: false }));
  });
}
