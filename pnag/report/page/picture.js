// The architecture as a picture: up (or left) how wide each op is, down (or right) what it costs.

const WIDE_PX = 760;
const KERNEL_COLOURS = { 3: "k3", 5: "k5", 7: "k7" };

/** Stage 0 is the stem, or all of a network without stages; after the last comes the head. */
const stageName = (stage, choice) => (!choice.depths.length ? "Network" : stage === 0 ? "Stem" : isHead(stage, choice) ? "Head" : `Stage ${stage}`);

const isHead = (stage, choice) => stage > choice.depths.length;

const fillOf = (layer) => (layer.expand ? `var(--${KERNEL_COLOURS[layer.kernel]})` : "var(--fixed)");

const widthOf = (layer) => layer.mid || layer.output[2];

/** Slots in order, with those that the architecture leaves empty. */
function slotsOf(choice) {
  const slots = [];
  for (const layer of layers(choice)) {
    const depth = choice.depths[layer.stage - 1];
    slots.push({ stage: layer.stage, layer });
    if (layer.slot === depth - 1) {
      for (let empty = depth; empty < choice.room[layer.stage - 1]; empty += 1) slots.push({ stage: layer.stage, layer: null });
    }
  }
  return slots;
}

function describe(layer) {
  const shape = layer.expand ? `kernel ${layer.kernel}, expand ${layer.expand}, ${layer.mid} channels inside` : `${layer.output[2]} channels`;
  return `${layer.place}: ${shape}, ${layer.output[0]}×${layer.output[1]} px, ${ms(layer.added_ms)} ms`;
}

/** The widest and the dearest op of any choice, so that pictures share one scale. */
const SCALE = {
  width: Math.max(...REPORT.choices.flatMap((one) => layers(one).map(widthOf))),
  cost: Math.max(...REPORT.choices.flatMap((one) => layers(one).map((layer) => layer.added_ms))),
};

function drawPicture(choice) {
  const box = byId("picture");
  if (!choice.ops) {
    drawTokens(box, choice);
    return;
  }
  const width = paper.matches ? PAPER_PX : Math.max(box.clientWidth, 280);
  const summary = choice.depths.map((depth, stage) => {
    const own = layers(choice).filter((layer) => layer.stage === stage + 1);
    const expands = own.some((l) => l.expand) ? `, expand ratios ${own.map((l) => l.expand).join(" ")}` : "";
    return `stage ${stage + 1}: ${depth} blocks, kernels ${own.map((l) => l.kernel).join(" ")}${expands}`;
  });
  if (!summary.length) summary.push(`${choice.ops.length} ops`);
  const drawing = (width >= WIDE_PX ? wideDrawing : narrowDrawing)(choice, width);
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `Architecture; ${summary.join("; ")}. Costs are in the table below.`);
  box.replaceChildren(drawing);
  if (!byId("picture-tools")) box.after(toolbar("picture-tools", "the architecture as a picture", { SVG: savePicture }));
}

/** Away from the style sheet, the picture carries its colours and its type itself. */
function savePicture() {
  const shown = byId("picture").querySelector("svg");
  const saved = shown.cloneNode(true);
  const both = [...shown.querySelectorAll("text, rect, line")].map((one, i) => [one, saved.querySelectorAll("text, rect, line")[i]]);
  for (const [from, to] of both) {
    const style = getComputedStyle(from);
    for (const name of ["fill", "stroke", "font-size", "font-weight", "font-family"]) to.setAttribute(name, style.getPropertyValue(name));
  }
  const { width, height } = shown.viewBox.baseVal;
  for (const [name, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) saved.setAttribute(name, value);
  saved.style.background = colour("card");
  save("architecture.svg", svgType, new XMLSerializer().serializeToString(saved));
}

/** Left to right, as data flows. */
function wideDrawing(choice, width) {
  const slots = slotsOf(choice);
  const [top, up, middle, down, gap] = [54, 130, 40, 84, 14];
  const step = (width - (choice.depths.length + 1) * gap) / slots.length;
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${top + up + middle + down + 18}` });
  const base = top + up;
  let x = 0, stage = 0, begin = 0;
  slots.forEach((slot, index) => {
    if (slot.stage !== stage) { x += gap; stage = slot.stage; }
    if (index === 0 || slots[index - 1].stage !== slot.stage) begin = x;
    const last = index === slots.length - 1 || slots[index + 1].stage !== slot.stage;
    const bar = { x: x + 1.5, width: step - 3, rx: 3 };
    const centre = { x: x + step / 2, "text-anchor": "middle" };
    if (slot.layer) {
      const { layer } = slot;
      const height = 8 + (up - 8) * Math.sqrt(widthOf(layer) / SCALE.width);
      const cost = Math.max(1.5, (down * layer.added_ms) / SCALE.cost);
      const group = svgElement("g");
      group.append(svgElement("title", {}, describe(layer)));
      group.append(svgElement("rect", { ...bar, y: base - height, height, fill: fillOf(layer) }));
      group.append(svgElement("text", { ...centre, y: base - height - 4, class: "faint" }, widthOf(layer)));
      if (layer.expand) {
        group.append(svgElement("text", { ...centre, y: base + 15, class: "strong" }, `k${layer.kernel}`));
        group.append(svgElement("text", { ...centre, y: base + 29 }, `e${layer.expand}`));
      }
      group.append(svgElement("rect", { ...bar, y: base + middle, height: cost, fill: "var(--cost)" }));
      svg.append(group);
    } else {
      svg.append(svgElement("rect", { ...bar, y: base - 22, height: 21, fill: "none", stroke: "var(--line)", "stroke-dasharray": "3 3" }));
    }
    x += step;
    if (last) svg.append(...stageLabel(choice, slot.stage, begin, x));
  });
  svg.append(svgElement("text", { x: 0, y: base + middle + down + 14, class: "faint" }, "↑ channels   ↓ ms"));
  return svg;
}

function stageLabel(choice, stage, begin, end) {
  const own = layers(choice).filter((layer) => layer.stage === stage);
  const output = own[own.length - 1].output;
  const detail = isHead(stage, choice) || !choice.depths.length ? `${output[2]} classes` : `${output[0]} px, ${output[2]} ch`;
  return [
    svgElement("line", { x1: begin + 1.5, x2: end - 1.5, y1: 34, y2: 34, stroke: "var(--line)", "stroke-width": 2 }),
    svgElement("text", { x: begin + 1.5, y: 12, class: "strong" }, stageName(stage, choice)),
    svgElement("text", { x: begin + 1.5, y: 26, class: "faint" }, detail),
  ];
}

/** Top to bottom, for narrow screens. */
function narrowDrawing(choice, width) {
  const [row, label] = [18, 48];
  const half = (width - label) / 2;
  const rows = [];
  let stage = -1;
  for (const layer of layers(choice)) {
    if (layer.stage !== stage) { stage = layer.stage; rows.push({ heading: stage }); }
    rows.push({ layer });
  }
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${rows.length * row + 22}` });
  svg.append(svgElement("text", { x: 0, y: 12, class: "faint" }, "← channels"));
  svg.append(svgElement("text", { x: width, y: 12, class: "faint", "text-anchor": "end" }, "ms →"));
  rows.forEach((one, index) => {
    const y = 20 + index * row;
    if (one.heading !== undefined) {
      const [line, name, detail] = stageLabel(choice, one.heading, 0, width);
      for (const part of [name, detail]) { part.setAttribute("y", y + 13); svg.append(part); }
      detail.setAttribute("x", width - 2);
      detail.setAttribute("text-anchor", "end");
      line.remove();
      return;
    }
    const { layer } = one;
    const extent = 6 + (half - 40) * Math.sqrt(widthOf(layer) / SCALE.width);
    const cost = Math.max(1.5, ((half - 44) * layer.added_ms) / SCALE.cost);
    const group = svgElement("g");
    const bar = { y: y + 1.5, height: row - 3, rx: 3 };
    group.append(svgElement("title", {}, describe(layer)));
    group.append(svgElement("rect", { ...bar, x: half - extent, width: extent, fill: fillOf(layer) }));
    group.append(svgElement("text", { x: half - extent - 4, y: y + 13, class: "faint", "text-anchor": "end" }, widthOf(layer)));
    if (layer.expand) group.append(svgElement("text", { x: half + label / 2, y: y + 13, "text-anchor": "middle" }, `k${layer.kernel} e${layer.expand}`));
    group.append(svgElement("rect", { ...bar, x: half + label, width: cost, fill: "var(--cost)" }));
    group.append(svgElement("text", { x: half + label + cost + 4, y: y + 13, class: "faint" }, layer.added_ms.toFixed(2)));
    svg.append(group);
  });
  return svg;
}

/** Spaces without ops: one decision a row. */
function drawTokens(box, choice) {
  const body = element("tbody");
  choice.values.forEach((value, position) => {
    if (value === null) return;
    body.append(element("tr", {}, element("th", { scope: "row" }, REPORT.positions[position]), element("td", {}, value)));
  });
  box.replaceChildren(element("table", { "aria-label": "Choices of the architecture" }, body));
}

function drawLegend() {
  if (!REPORT.choices[0].ops) return;
  const items = [["k3", "3×3 kernel"], ["k5", "5×5 kernel"], ["k7", "7×7 kernel"], ["fixed", "fixed parts"], ["cost", "predicted ms"]];
  byId("legend").replaceChildren(...items.map(([name, text]) =>
    element("span", {}, element("i", { style: `background: var(--${name})` }), text)));
}
