// Latency under sustained load, beside what the device told of its heat and its clock.

const TOLD = [["load-temperature", "Temperature", "temperatures_c", "°C", "measured"], ["load-clock", "Clock", "clocks_mhz", "MHz", "other1"]];

const toldOf = (load) => TOLD.filter(([, , field]) => load[field].some((value) => value !== null));

const overFirst = (ratio) => 100 * (ratio - 1);

function fillLoad() {
  const load = REPORT.load;
  byId("load-section").hidden = !load;
  if (!load) return;
  const chart = (id, what, look) => element("div", { id, class: look, role: "img", "aria-label": `${what} over the minutes of load` });
  byId("load-charts").append(chart("load", "Latency", "chart"), ...toldOf(load).map(([id, what]) => chart(id, what, "chart short")));
  const changes = load.changes.map((change) => `at ${(change.at_s / 60).toFixed(1)} min to ${signed(change.ratio - 1)}`);
  const course = changes.length ? `The level changed ${changes.join(", ")}.` : "The level did not change.";
  byId("load-note").textContent = `All configurations together, in ${load.minutes} minutes without pause, over the first minute. ${course} At the end it is ${signed(load.end_ratio - 1)}.`;
}

function drawLoad() {
  const load = REPORT.load;
  if (!load) return;
  const minutes = load.times_s.map((time) => time / 60);
  const changes = load.changes.map((change) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: change.at_s / 60, x1: change.at_s / 60, line: { color: colour("quiet"), width: 1, dash: "dot" } }));
  const levels = load.changes.map((change, i) => ({ type: "line", x0: change.at_s / 60, x1: (load.changes[i + 1]?.at_s ?? load.times_s.at(-1)) / 60, y0: overFirst(change.ratio), y1: overFirst(change.ratio), line: { color: colour("measured"), width: 2 } }));
  const course = { name: "latency", mode: "lines+markers", x: minutes, y: load.ratios.map(overFirst), marker: { size: 4 }, line: { color: colour("accent"), width: 1 }, hovertemplate: "%{y:+.2f} % after %{x:.1f} min" };
  drawChart("load", [course], layout("minutes of load", "over the first minute (%)", { shapes: [...changes, ...levels], showlegend: false }));
  for (const [id, , field, unit, look] of toldOf(load)) {
    const read = { name: unit, mode: "lines", connectgaps: false, x: minutes, y: load[field], line: { color: colour(look), width: 1.5 }, hovertemplate: `%{y:.5g} ${unit} after %{x:.1f} min` };
    drawChart(id, [read], layout("minutes of load", unit, { showlegend: false }));
  }
}
