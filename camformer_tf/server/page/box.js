// The box for sequences, typed, pasted or from files; it checks them as the text changes.

import * as sequences from "./sequences.js";

const MAX_PROBLEMS = 5;
const PAUSE = 300; // milliseconds without a key before the text is checked

const part = (id) => document.getElementById(id);
const state = { rule: sequences.RULE, flanks: null, lines: 1, errors: new Map() };

/** Sets the rule and the flanks (or null) of the model, and checks the text again. */
export function setRule(rule, flanks) {
  Object.assign(state, { rule, flanks });
  const lengths = sequences.lengths(rule, flanks);
  part("rule").textContent = `${lengths[0].toUpperCase()}${lengths.slice(1)}.`;
  check();
}

/** Returns the rows in the box, and shows their number, the flanks, and which cannot be read. */
export function check() {
  const rows = sequences.parse(part("text").value)
    .map((entry) => sequences.check(entry, state.rule, state.flanks));
  const badRows = rows.filter((row) => row.error);
  summarize(rows, badRows);
  const items = badRows.slice(0, MAX_PROBLEMS).map(problemItem);
  if (badRows.length > MAX_PROBLEMS) {
    const item = document.createElement("li");
    item.textContent = `and ${(badRows.length - MAX_PROBLEMS).toLocaleString("en")} more; ` +
      "the table of predictions lists all of them";
    items.push(item);
  }
  part("problems").replaceChildren(...items);
  state.errors = new Map(badRows.map((row) => [row.errorLine, row.error]));
  countLines();
  return rows;
}

function summarize(rows, badRows) {
  const cores = rows.filter((row) => row.flankLengths[0] + row.flankLengths[1] > 0).length;
  let summary = rows.length ? `${rows.length.toLocaleString("en")} sequence` : "";
  if (rows.length > 1) summary += "s";
  if (badRows.length) summary += `, ${badRows.length.toLocaleString("en")} cannot be read`;
  const parts = [summary && `${summary}.`];
  if (cores) {
    const flank = (letters) => {
      const span = document.createElement("span");
      span.className = "flank";
      span.textContent = letters;
      return span;
    };
    parts.push(` Flanks are added to ${cores === rows.length ? "each" : cores}: `,
      flank(state.flanks.left), " core ", flank(state.flanks.right));
  }
  part("count").replaceChildren(...parts);
}

function problemItem(row) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link";
  button.textContent = `Line ${row.errorLine}`;
  button.addEventListener("click", () => goTo(row.errorLine));
  const item = document.createElement("li");
  item.append(button, `${row.name ? ` (${row.name})` : ""}: ${row.error}`);
  return item;
}

const lineHeight = () => Number.parseFloat(getComputedStyle(part("text")).lineHeight);

function goTo(line) {
  const text = part("text");
  const lines = text.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, { length }) => sum + length + 1, 0);
  text.focus();
  text.setSelectionRange(start, start + lines[line - 1].length);
  text.scrollTop = (line - 3) * lineHeight();
}

function countLines() {
  state.lines = part("text").value.split("\n").length;
  numberLines();
}

/** Numbers the lines that are in view. */
function numberLines() {
  const text = part("text");
  const height = lineHeight();
  const first = Math.floor(text.scrollTop / height);
  const last = Math.min(state.lines, first + Math.ceil(text.clientHeight / height) + 1);
  const marks = Array.from({ length: Math.max(last - first, 0) }, (_, i) => {
    const mark = document.createElement("div");
    mark.textContent = first + i + 1;
    mark.classList.toggle("bad", state.errors.has(first + i + 1));
    mark.title = state.errors.get(first + i + 1) ?? "";
    return mark;
  });
  const gutter = part("gutter").firstElementChild;
  gutter.replaceChildren(...marks);
  gutter.style.transform = `translateY(${first * height - text.scrollTop}px)`;
}

/** Adds lines at the end. */
export function add(letters) {
  const text = part("text");
  const end = text.value && !text.value.endsWith("\n") ? "\n" : "";
  text.value += end + letters;
  check();
}

async function addFiles(files, notify) {
  for (const file of files) {
    const letters = await file.text();
    if (/[\0\uFFFD]/.test(letters)) notify(`${file.name} is not a text file.`, true);
    else add(letters);
  }
}

/** Listens to keys, files and drops; `notify` is called with a message about a file. */
export function listen(notify) {
  const text = part("text");
  let timer = 0;
  text.addEventListener("input", () => {
    countLines();
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE);
  });
  text.addEventListener("scroll", numberLines);
  new ResizeObserver(numberLines).observe(text);
  part("open").addEventListener("click", () => part("file").click());
  part("file").addEventListener("change", async () => {
    await addFiles(part("file").files, notify);
    part("file").value = "";
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    addFiles(event.dataTransfer.files, notify);
  });
}
