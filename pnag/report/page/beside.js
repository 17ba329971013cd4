// Several runs: two devices or two dates.

const RUN_COLOURS = ["accent", "measured", "other2", "other1", "cost"];

function fillBeside() {
  if (!REPORT.runs.length) return;
  byId("beside-section").hidden = false;
  byId("beside-note").textContent = REPORT.runs.map((run) => `${run.name}: ${run.about}`).join(". ") + ". Latencies are each run’s own c(α).";
  const [first] = REPORT.runs;
  const share = (value) => (value === null ? "–" : percent(value, 2));
  const ofRun = REPORT.runs.map((run, i) => numberColumn(`${run.name}, top-1`, (row) => row.top1[i], (row) => share(row.top1[i])));
  const moved = REPORT.runs.slice(1).map((run, i) => numberColumn(`${first.name}’s on ${run.name}, ms`, (row) => row.first_ms[i]));
  const known = moved.filter((column) => REPORT.budgets.some((row) => column.value(row) !== null));
  sortableTable(byId("budgets-table"), [numberColumn("Budget ms", (row) => row.budget_ms), ...ofRun, ...known], REPORT.budgets, "Runs at the same budgets; headers sort");
  REPORT.changes.forEach(fillChange);
}

const change = (ratio) => signed(ratio - 1);

const changeColumns = [
  numberColumn("Change", (row) => row.ratio, (row) => change(row.ratio)),
  { title: "95 % interval", value: (row) => row.interval[0], show: (row) => row.interval.map(change).join(" to ") },
  { title: "Finding", value: (row) => row.finding, show: finding },
];

/** What the first run's table says, over what another one's does. */
function fillChange(one, index) {
  const [groups, ops] = [element("table", { id: `change-groups-${index}` }), element("table", { id: `change-ops-${index}` })];
  const title = `Latencies of ${one.after} over those of ${one.before}`;
  const region = (name, table) => element("div", { class: "scroll tall-scroll", tabindex: 0, role: "region", "aria-label": name }, table);
  byId("changes").append(element("div", { class: "card" }, element("h3", {}, title),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, groups),
    element("p", { class: "quiet small" }, "A group’s interval is of its mean, by the scatter of its members. An op’s comes from both measurements, and is never narrower than the A/A noise floor."),
    element("details", {}, element("summary", {}, `All ${one.ops.length} ops`), region(`${title}, op by op`, ops))));
  sortableTable(groups, [{ title: "What", value: (row) => row.what, show: (row) => row.what }, numberColumn("How many", (row) => row.n, (row) => row.n), ...changeColumns], one.groups, `${title}; headers sort`);
  const times = [numberColumn(`${one.before}, ms`, (op) => op.before_ms), numberColumn(`${one.after}, ms`, (op) => op.after_ms)];
  sortableTable(ops, [{ title: "Op", value: (op) => op.key, show: (op) => element("code", {}, op.key) }, ...changeColumns, ...times], one.ops, `${title}, op by op; headers sort`);
}

function drawBeside() {
  if (!REPORT.runs.length) return;
  const traces = REPORT.runs.map((run, i) => ({
    name: plain(run.name), x: run.latency_ms, y: percents(run.top1), mode: "lines+markers", hovertemplate: hover,
    marker: { size: 5, color: colour(RUN_COLOURS[i % 5]) }, line: { width: 1.5, shape: "hv", color: colour(RUN_COLOURS[i % 5]) },
  }));
  drawChart("frontiers", traces, layout("latency (ms)", "top-1 (%)", { showlegend: true }));
}
