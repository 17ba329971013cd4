// Tables that are sorted by their headers, and saved.

/**
 * A table whose headers are buttons that sort it.
 * Columns: { title, value(row) to sort by and to save, show(row) -> text or node, number, detail }.
 */
function sortableTable(table, columns, rows, caption) {
  const body = element("tbody");
  const look = (column) => [column.number && "number", column.detail && "detail"].filter(Boolean).join(" ");
  const classed = (column) => (look(column) ? { class: look(column) } : {});
  const made = rows.map((row) => ({
    row,
    line: element("tr", {}, ...columns.map((column, i) => element(i === 0 ? "th" : "td", { ...(i === 0 ? { scope: "row" } : {}), ...classed(column) }, column.show(row)))),
  }));
  body.append(...made.map((one) => one.line));
  const headers = columns.map((column) => {
    const header = element("th", { scope: "col", ...classed(column) });
    if (!column.value) {
      header.append(element("span", { class: "hidden" }, column.title));
      return header;
    }
    const button = element("button", { type: "button" }, column.title);
    header.setAttribute("aria-sort", "none");
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sorted = [...made].sort((a, b) => compare(column.value(a.row), column.value(b.row)) * (descending ? -1 : 1));
      body.append(...sorted.map((one) => one.line));
    });
    return header;
  });
  table.replaceChildren(element("caption", { class: "hidden" }, caption), element("thead", {}, element("tr", {}, ...headers)), body);
  const saved = columns.filter((column) => column.value);
  csvButton(table, caption, () => [saved.map((c) => c.title), made.map(({ row }) => saved.map((c) => c.value(row)))]);
  return made;
}

/** Below a table, the button that saves what `contents` gives: headings and rows. */
function csvButton(table, name, contents) {
  if (byId(`${table.id}-tools`)) return;
  const tools = toolbar(`${table.id}-tools`, name, { CSV: () => save(`${table.id}.csv`, csvType, csvOf(...contents())) });
  (table.closest(".scroll") ?? table).after(tools);
}

/** Numbers before what is missing; text in its own order. */
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

/** A column of numbers; what is missing is null. */
const numberColumn = (title, value, show = (row) => ms(value(row)), more = {}) => ({ title, value, show, number: true, ...more });

/** A row is found by the words that it shows, or that `more` adds. */
function filterRows(made, words, more) {
  const wanted = findable(words).split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { row, line } of made) {
    const text = findable(`${[...line.cells].map((cell) => cell.textContent).join(" ")} ${more(row)}`);
    line.hidden = !wanted.every((word) => text.includes(word));
    shown += !line.hidden;
  }
  return shown;
}

/** As people type it. */
const findable = (text) => text.toLowerCase().replaceAll("×", "x").replaceAll("→", " ");

const FINDING_LOOKS = { faster: "stable", "not told apart": "calm" };

/** Of a comparison: the better, the worse, or neither. */
const finding = (row) => element("span", { class: `verdict ${FINDING_LOOKS[row.finding] ?? ""}` }, row.finding);

function verdict(entry) {
  const text = element("span", { class: `verdict ${entry.verdict}` }, entry.verdict);
  const flags = (entry.flags || []).join(", ").replaceAll("_", " ");
  return flags ? element("span", {}, text, element("span", { class: "flags" }, ` ${flags}`)) : text;
}
