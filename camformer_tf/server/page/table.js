// The table of predictions: columns, order, and download.

import * as sequences from "./sequences.js";

/** Returns the percentile of a value: the percentage of measured expressions below it, and half of
 * those equal to it. `quantiles` are the measured expressions at 0 %, 1 %, … 100 %. */
export function percentile(value, quantiles) {
  const last = quantiles.length - 1;
  if (value < quantiles[0]) return 0;
  if (value > quantiles[last]) return 100;
  const index = quantiles.findIndex((quantile) => quantile >= value);
  const [lower, upper] = [quantiles[index - 1], quantiles[index]];
  if (upper > value) return ((index - 1 + (value - lower) / (upper - lower)) / last) * 100;
  const lastIndex = quantiles.findLastIndex((quantile) => quantile <= value); // of ties
  return ((index + lastIndex) / 2 / last) * 100;
}

/** Returns the name of a row, or its line. */
export const title = (row) => row.name || `line ${row.line}`;

export const number = (value, digits = 2) =>
  value == null ? "–" : value.toFixed(digits).replace("-", "−");

export const withSign = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);

/** Returns the columns for a model: title, value to sort by, and how a cell is filled. `select` is
 * called with the row whose name is clicked. */
export function columns(server, rows, select) {
  const { card } = server;
  const has = (name) => rows.some((row) => row.answer?.[name] != null);
  const columns = [
    { key: "name", title: "Name", value: title, fill: (cell, row) => nameCell(cell, row, select) },
    { key: "sequence", title: "Sequence", value: (row) => row.sequence || row.input,
      fill: (cell, row) => sequenceCell(cell, row, card?.flanks) },
    { key: "prediction", title: "Prediction", numeric: true,
      value: (row) => row.answer?.expression ?? null },
  ];
  if (has("lower")) {
    columns.push({ key: "interval", numeric: true, value: (row) => width(row.answer),
      title: card?.coverage ? `${Math.round(card.coverage * 100)} % interval` : "Interval",
      text: ({ answer }) => `${number(answer.lower)} to ${number(answer.upper)}` });
  }
  if (has("spread")) {
    columns.push({ key: "spread", title: "Spread", numeric: true,
      value: (row) => row.answer?.spread ?? null });
  }
  if (card?.measured) {
    columns.push({ key: "measured", title: "Percentile", numeric: true,
      value: (row) => row.answer && percentile(row.answer.expression, card.measured.quantiles),
      fill: percentileCell });
  }
  return columns;
}

const width = (answer) => (answer ? answer.upper - answer.lower : null);

/** Returns rows in the order of a column; those without a value are last in both directions. */
export function sortRows(rows, column, descending) {
  if (!column) return rows;
  const collator = new Intl.Collator("en", { numeric: true });
  const pairs = rows.map((row) => ({ row, value: column.value(row) ?? null }));
  pairs.sort(({ value: a }, { value: b }) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = column.numeric ? a - b : collator.compare(a, b);
    return descending ? -order : order;
  });
  return pairs.map(({ row }) => row);
}

/** Writes the head of the table; `sort` {key, descending} becomes aria-sort. */
export function head(element, columns, sort, select) {
  const line = document.createElement("tr");
  for (const column of columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.classList.toggle("number", Boolean(column.numeric));
    cell.ariaSort = sort.key !== column.key ? "none" : sort.descending ? "descending" : "ascending";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    button.addEventListener("click", () => select(column));
    cell.append(button);
    line.append(cell);
  }
  element.replaceChildren(line);
}

/** Writes rows into the body of the table. */
export function body(element, rows, columns) {
  element.replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    for (const column of columns) {
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
        line.append(missingCell(row, columns.length - 2));
        break;
      }
    }
    return line;
  }));
}

function nameCell(cell, row, select) {
  if (!row.answer) {
    cell.textContent = title(row);
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link";
  button.textContent = title(row);
  button.title = "Show the effects of single mutations";
  button.addEventListener("click", () => select(row));
  cell.append(button);
}

function sequenceCell(cell, row, flanks) {
  const letters = document.createElement("span");
  letters.className = "letters";
  letters.title = row.sequence || row.input;
  if (row.error) letters.textContent = row.input;
  else sequences.show(letters, row.sequence, flanks);
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "copy";
  copy.textContent = "Copy";
  copy.ariaLabel = `Copy the sequence of ${title(row)}`;
  copy.addEventListener("click", () => copyText(row.sequence || row.input, copy));
  const box = document.createElement("div");
  box.append(letters, copy);
  cell.append(box);
}

/** Copies a text, and shows the outcome on the button. */
export async function copyText(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

function percentileCell(cell, row) {
  const percent = this.value(row);
  const bar = document.createElement("span");
  bar.className = "bar";
  const mark = document.createElement("i");
  mark.style.left = `${percent}%`;
  bar.append(mark);
  const text = document.createElement("span");
  text.textContent = `${Math.round(percent)} %`;
  const box = document.createElement("div");
  box.append(bar, text);
  cell.append(box);
}

function missingCell(row, span) {
  const cell = document.createElement("td");
  cell.colSpan = span;
  cell.className = row.error ? "problem" : "waiting";
  const message = document.createElement("p");
  message.textContent = row.error ? `Line ${row.errorLine}: ${row.error}` : "not predicted yet";
  cell.append(message);
  return cell;
}

/** Returns all rows as CSV, with whole sequences, all digits, and the model and its version. */
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
    const fields = { name: row.name, line: row.line, given: row.input, sequence: row.sequence,
      ...answer, prediction: answer?.expression, coverage: answer && card?.coverage,
      percentile: quantiles && percentile(answer.expression, quantiles),
      problem: row.error || (answer ? "" : "not predicted"),
      model: server.name, version: server.version };
    return header.map((name) => fields[name]);
  };
  return sequences.csv([header, ...rows.map(cells)]);
}
