// The box that sequences are typed, pasted and dropped into; it says what is in it while one types.

import * as sequences from "./sequences.js";

const SHOWN_PROBLEMS = 5;
const PAUSE = 300; // milliseconds without a key before the text is checked

const part = (id) => document.getElementById(id);
const state = { rule: sequences.RULE, flanks: null, lines: 1, bad: new Map() };

/** Checks by another rule, with other flanks (or null), from now on. */
export function follow(rule, flanks) {
  Object.assign(state, { rule, flanks });
  part("rule").textContent = `Here ${sequences.lengths(rule, flanks)}.`;
  look();
}

/** Returns the rows in the box, and says how many, what is added, and which cannot be read. */
export function look() {
  const rows = sequences.parse(part("text").value)
    .map((entry) => sequences.check(entry, state.rule, state.flanks));
  const bad = rows.filter((row) => row.error);
  tell(rows, bad);
  const items = bad.slice(0, SHOWN_PROBLEMS).map(problem);
  if (bad.length > SHOWN_PROBLEMS) {
    const item = document.createElement("li");
    item.textContent = `and ${(bad.length - SHOWN_PROBLEMS).toLocaleString("en")} more, ` +
      "each named in the table of predictions";
    items.push(item);
  }
  part("problems").replaceChildren(...items);
  state.bad = new Map(bad.map((row) => [row.errorLine, row.error]));
  count();
  return rows;
}

function tell(rows, bad) {
  const completed = rows.filter((row) => row.added[0] + row.added[1] > 0).length;
  let words = rows.length ? `${rows.length.toLocaleString("en")} sequence` : "";
  if (rows.length > 1) words += "s";
  if (bad.length) words += `, ${bad.length.toLocaleString("en")} cannot be read`;
  const parts = [words && `${words}.`];
  if (completed) {
    const flank = (letters) => {
      const span = document.createElement("span");
      span.className = "flank";
      span.textContent = letters;
      return span;
    };
    parts.push(` Flanks are added to ${completed === rows.length ? "each" : completed}: `,
      flank(state.flanks.left), " core ", flank(state.flanks.right));
  }
  part("count").replaceChildren(...parts);
}

function problem(row) {
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
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  text.focus();
  text.setSelectionRange(start, start + lines[line - 1].length);
  text.scrollTop = (line - 3) * lineHeight();
}

function count() {
  state.lines = part("text").value.split("\n").length;
  number();
}

/** Numbers the lines that are in view. */
function number() {
  const text = part("text");
  const high = lineHeight();
  const first = Math.floor(text.scrollTop / high);
  const last = Math.min(state.lines, first + Math.ceil(text.clientHeight / high) + 1);
  const marks = Array.from({ length: Math.max(last - first, 0) }, (_, i) => {
    const mark = document.createElement("div");
    mark.textContent = first + i + 1;
    mark.classList.toggle("bad", state.bad.has(first + i + 1));
    mark.title = state.bad.get(first + i + 1) ?? "";
    return mark;
  });
  const place = part("gutter").firstElementChild;
  place.replaceChildren(...marks);
  place.style.transform = `translateY(${first * high - text.scrollTop}px)`;
}

/** Adds lines below what is there. */
export function add(letters) {
  const text = part("text");
  const end = text.value && !text.value.endsWith("\n") ? "\n" : "";
  text.value += end + letters;
  look();
}

async function addFiles(files, say) {
  for (const file of files) {
    const letters = await file.text();
    if (/[\0\uFFFD]/.test(letters)) say(`${file.name} is no text file.`, true);
    else add(letters);
  }
}

/** Follows what is typed and dropped; `say` is called with words about a file. */
export function listen(say) {
  const text = part("text");
  let clock = 0;
  text.addEventListener("input", () => {
    count();
    clearTimeout(clock);
    clock = setTimeout(look, PAUSE);
  });
  text.addEventListener("scroll", number);
  new ResizeObserver(number).observe(text);
  part("open").addEventListener("click", () => part("file").click());
  part("file").addEventListener("change", async () => {
    await addFiles(part("file").files, say);
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
    addFiles(event.dataTransfer.files, say);
  });
}
