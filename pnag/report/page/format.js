"use strict";
// Numbers, elements and colours: what all other parts share.

const REPORT = JSON.parse(document.getElementById("report-data").textContent);

const byId = (id) => document.getElementById(id);

/** A latency with four significant digits. */
const ms = (value) => (value === null || value === undefined ? "–" : value < 1000 ? value.toPrecision(4) : value.toFixed(0));

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

const signed = (share) => `${share < 0 ? "−" : "+"}${percent(Math.abs(share), 2)}`;

const millions = (value) => `${(value / 1e6).toFixed(1)} M`;

const interval = (ends) => (ends ? `${ms(ends[0])} – ${ms(ends[1])} ms` : "");

/** A colour of the style sheet, in the scheme that is shown now. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** An HTML element; text is set as text, so nothing in the data is ever read as markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

function svgElement(tag, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

/** Pairs of a definition list; a third part is a small second line. */
function fillFacts(list, facts) {
  list.replaceChildren(...facts.map(([what, value, detail]) => {
    const shown = element("dd", {}, value);
    if (detail) shown.append(element("small", {}, detail));
    return element("div", {}, element("dt", {}, what), shown);
  }));
}

/** Ops of a choice with what each adds, named by stage; empty for spaces without ops. */
function layers(choice) {
  if (!choice.ops) return [];
  let next = 0;
  const blocks = choice.depths.flatMap((depth, stage) =>
    Array.from({ length: depth }, (_, slot) => ({ stage: stage + 1, slot, expand: choice.expands[next++] })));
  return choice.ops.map((index, position) => {
    const block = blocks[position - choice.n_stem_ops];
    const head = position >= choice.n_stem_ops + blocks.length;
    const op = REPORT.ops[index];
    const place = block ? `Stage ${block.stage}, block ${block.slot + 1}` : !blocks.length ? op.name : `${head ? "Head" : "Stem"}, ${op.name}`;
    return { ...op, ...(block || { stage: head ? choice.depths.length + 1 : 0, expand: null }), place };
  });
}
