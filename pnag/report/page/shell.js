// What surrounds the sections: heading, contents, provenance, saving, printing.

const csvType = "text/csv";
const svgType = "image/svg+xml";

function toolbar(id, whose, actions) {
  const buttons = Object.entries(actions).map(([title, action]) => {
    const button = element("button", { type: "button", "aria-label": `Save as ${title}: ${whose}` }, title);
    button.addEventListener("click", action);
    return button;
  });
  return element("p", { id, class: "tools" }, "Save as ", ...buttons);
}

function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: `pnag-${name}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** RFC 4180. */
function csvOf(headings, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [headings, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function fillHeading() {
  byId("device-line").textContent = REPORT.device_line;
  const day = (written) => element("time", { datetime: written }, `${written.slice(0, 10)} ${written.slice(11, 16)} UTC`);
  byId("dates").replaceChildren(...REPORT.dates.flatMap(([what, written], i) => [`${i ? ", " : ""}${i ? what : what[0].toUpperCase() + what.slice(1)} `, day(written)]));
  fillFacts(byId("facts"), REPORT.facts);
}

/** A link to each section that there is. */
function fillContents() {
  const titles = [...document.querySelectorAll("main > section:not([hidden]) > h2")];
  byId("contents").replaceChildren(element("ul", {}, ...titles.map((title) =>
    element("li", {}, element("a", { href: `#${title.parentElement.id}` }, title.dataset.short ?? title.textContent)))));
}

function fillProvenance() {
  byId("provenance").replaceChildren(...REPORT.provenance.map(([title, rows]) =>
    element("div", { class: "card" }, element("h3", {}, title),
      element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])))));
}

/** Drawn again for paper, with its width and its colours, and for another scheme. */
function redrawWhereItIsSeen(draw) {
  paper.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
