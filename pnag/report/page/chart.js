// Charts by Plotly, in the colours of the style sheet, on the screen and on paper.

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

const NARROW_PX = 640;
const PAPER_PX = 640; // what fits between the margins of A4 and of letter paper
const TWO_COLUMNS = { entrywidth: 0.48, entrywidthmode: "fraction", font: { size: 11 } };

const paper = matchMedia("print");

function layout(x, y, extra = {}) {
  const axis = (title) => ({ title: { text: title, font: { size: 12 } }, gridcolor: colour("line"), zeroline: false, linecolor: colour("line"), automargin: true });
  const narrow = innerWidth < NARROW_PX && !paper.matches;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    margin: { l: 44, r: 12, t: 8, b: 40 },
    xaxis: axis(x), yaxis: axis(y),
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...(narrow ? TWO_COLUMNS : {}) },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
    ...extra,
  };
}

/** Draw, or draw again; the first time, with the buttons that save what is shown. */
function drawChart(id, traces, chart) {
  const width = paper.matches ? { width: PAPER_PX, autosize: false } : { autosize: true };
  Plotly.react(id, traces, { ...chart, ...width }, CONFIG);
  if (!byId(`${id}-tools`)) {
    const tools = toolbar(`${id}-tools`, byId(id).getAttribute("aria-label"), {
      SVG: () => saveChart(id), CSV: () => save(`${id}.csv`, csvType, csvOf(...pointsOf(id))),
    });
    byId(id).after(tools);
  }
}

/** Headings and rows of what a chart shows, one row a point. */
function pointsOf(id) {
  const { data, layout: { xaxis, yaxis } } = byId(id);
  const points = data.filter((trace) => trace.hoverinfo !== "skip" || trace.showlegend !== false);
  return [
    ["series", raw(xaxis.title.text), raw(yaxis.title.text)],
    points.flatMap((trace) => Array.from(trace.x, (x, i) => [trace.name ?? "", x, trace.y[i]].map(raw))),
  ];
}

async function saveChart(id) {
  const chart = byId(id);
  const { data, layout: shown } = chart;
  const figure = { data, layout: { ...shown, paper_bgcolor: colour("card"), autosize: false } };
  const size = { width: chart.clientWidth, height: chart.clientHeight };
  const svg = await Plotly.toImage(figure, { format: "svg", imageDataOnly: true, ...size });
  save(`${id}.svg`, svgType, svg);
}

/** Bars that count values in equal bins; [values, name] each, in the same bins from end to end. */
function histogram(groups, looks, unit, ends = null) {
  const every = groups.flatMap(([values]) => values);
  const [low, high] = ends ?? [every.reduce((a, b) => Math.min(a, b)), every.reduce((a, b) => Math.max(a, b))];
  const n = 40, width = (high - low) / n || 1e-3 * low;
  return groups.map(([values, name], i) => {
    const counts = new Array(n).fill(0);
    for (const value of values) counts[Math.max(0, Math.min(n - 1, Math.floor((value - low) / width)))] += 1;
    return {
      type: "bar", name, x: counts.map((_, bin) => low + (bin + 0.5) * width), y: counts, width,
      hovertemplate: `%{y} samples around %{x:.4g} ${unit}<extra></extra>`, ...looks[i],
    };
  });
}

/** Plotly reads a few tags and formulas in text; names from files must not be read so. */
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");

/** What `plain` was made of, to be saved. */
const raw = (value) => (typeof value === "string" ? value.replaceAll("&#36;", "$").replaceAll("&gt;", ">").replaceAll("&lt;", "<").replaceAll("&amp;", "&") : value);
