// The table of predictions: what it holds, in which order, and as a file.

import * as sequences from "./sequences.js";

/** Returns which percentage of measured expression lies below a value (half of what equals it).
 * `quantiles` are measured expression at 0 %, 1 %, … 100 %. */
export function percentile(value, quantiles) {
  const last = quantiles.length - 1;
  if (value < quantiles[0]) return 0;
  if (value > quantiles[last]) return 100;
  const above = quantiles.findIndex((one) => one >= value);
  if (quantiles[above] > value) {
    const below = quantiles[above - 1];
    return ((above - 1 + (value - below) / (quantiles[above] - below)) / last) * 100;
  }
  return ((above + quantiles.findLastIndex((one) => one <= value)) / 2 / last) * 100;
}

/** Returns how a row is called. */
export const title = (row) => row.name || `line ${row.line}`;

export const number = (value, digits = 2) =>
  value == null ? "–" : value.toFixed(digits).replace("-", "−");

export const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);

/** Returns the columns that a model has: their titles, what is sorted by, how it is shown. */
export function columns(server, rows, choose) {
  const { card } = server;
  const has = (name) => rows.some((row) => row.answer?.[name] != null);
  const all = [
    { key: "name", title: "Name", value: title, fill: (cell, row) => nameCell(cell, row, choose) },
    { key: "sequence", title: "Sequence", value: (row) => row.sequence || row.given,
      fill: (cell, row) => sequenceCell(cell, row, card?.flanks) },
    { key: "prediction", title: "Prediction", numeric: true,
      value: (row) => row.answer?.expression ?? null },
  ];
  if (has("lower")) {
    all.push({ key: "interval", numeric: true, value: (row) => width(row.answer),
      title: card?.coverage ? `${Math.round(card.coverage * 100)} % interval` : "Interval",
      text: ({ answer }) => `${number(answer.lower)} to ${number(answer.upper)}` });
  }
  if (has("spread")) {
    all.push({ key: "spread", title: "Spread", numeric: true,
      value: (row) => row.answer?.spread ?? null });
  }
  if (card?.measured) {
    all.push({ key: "measured", title: "Among measured", numeric: true,
      value: (row) => row.answer && percentile(row.answer.expression, card.measured.quantiles),
      fill: placeCell });
  }
  return all;
}

const width = (answer) => (answer ? answer.upper - answer.lower : null);

/** Returns rows in the order of a column; those without a value last, whichever way. */
export function sorted(rows, column, descending) {
  if (!column) return rows;
  const collator = new Intl.Collator("en", { numeric: true });
  const keyed = rows.map((row) => ({ row, value: column.value(row) ?? null }));
  keyed.sort(({ value: a }, { value: b }) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = column.numeric ? a - b : collator.compare(a, b);
    return descending ? -order : order;
  });
  return keyed.map(({ row }) => row);
}

/** Writes the head of the table; `sort` {key, descending} is told by aria-sort. */
export function head(place, all, sort, choose) {
  const line = document.createElement("tr");
  for (const column of all) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.classList.toggle("number", Boolean(column.numeric));
    cell.ariaSort = sort.key !== column.key ? "none" : sort.descending ? "descending" : "ascending";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    button.addEventListener("click", () => choose(column));
    cell.append(button);
    line.append(cell);
  }
  place.replaceChildren(line);
}

/** Writes rows into the body of the table. */
export function body(place, rows, all) {
  place.replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    for (const column of all) {
      const cell = document.createElement(column.key === "name" ? "th" : "td");
      if (column.key === "name") cell.scope = "row";
      cell.className = column.key;
      cell.classList.toggle("number", Boolean(column.numeric));
      const value = column.value(row);
      if (column.fill && (value !== null && value !== undefined || !column.numeric)) {
        column.fill(cell, row);
      } else if (value !== null && value !== undefined) {
        cell.textContent = column.text ? column.text(row) : number(value);
      }
      line.append(cell);
      if (column.key === "sequence" && !row.answer) {
        line.className = row.error ? "bad" : "";
        line.append(missing(row, all.length - 2));
        break;
      }
    }
    return line;
  }));
}

function nameCell(cell, row, choose) {
  if (!row.answer) {
    cell.textContent = title(row);
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link";
  button.textContent = title(row);
  button.title = "Show what single changes would do";
  button.addEventListener("click", () => choose(row));
  cell.append(button);
}

function sequenceCell(cell, row, flanks) {
  const letters = document.createElement("span");
  letters.className = "letters";
  letters.title = row.sequence || row.given;
  if (row.error) letters.textContent = row.given;
  else sequences.show(letters, row.sequence, flanks);
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "copy";
  copy.textContent = "Copy";
  copy.ariaLabel = `Copy the sequence of ${title(row)}`;
  copy.addEventListener("click", () => copyText(row.sequence || row.given, copy));
  const box = document.createElement("div");
  box.append(letters, copy);
  cell.append(box);
}

/** Copies, and says on the button that it did. */
export async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

function placeCell(cell, row) {
  const percent = this.value(row);
  const bar = document.createElement("span");
  bar.className = "bar";
  const mark = document.createElement("i");
  mark.style.left = `${percent}%`;
  bar.append(mark);
  const words = document.createElement("span");
  words.textContent = `${Math.round(percent)} %`;
  const box = document.createElement("div");
  box.append(bar, words);
  cell.append(box);
}

function missing(row, span) {
  const cell = document.createElement("td");
  cell.colSpan = span;
  cell.className = row.error ? "problem" : "waiting";
  const words = document.createElement("p");
  words.textContent = row.error ? `Line ${row.errorLine}: ${row.error}` : "not predicted yet";
  cell.append(words);
  return cell;
}

/** Returns all rows as CSV, whole sequences and all digits, with the model that predicted them. */
export function file(server, rows) {
  const { card } = server;
  const outputs = ["lower", "upper", "spread"].filter((name) =>
    rows.some((row) => row.answer?.[name] != null));
  const header = ["name", "line", "given", "sequence", "prediction", ...outputs,
    ...(outputs.includes("lower") && card?.coverage ? ["coverage"] : []),
    ...(card?.measured ? ["percentile"] : []), "problem", "model", "version"];
  const cells = (row) => {
    const { answer } = row;
    const quantiles = answer && card?.measured?.quantiles;
    const known = { name: row.name, line: row.line, given: row.given, sequence: row.sequence,
      ...answer, prediction: answer?.expression, coverage: answer && card?.coverage,
      percentile: quantiles && percentile(answer.expression, quantiles),
      problem: row.error || (answer ? "" : "not predicted"),
      model: server.name, version: server.version };
    return header.map((name) => known[name]);
  };
  return sequences.csv([header, ...rows.map(cells)]);
}
