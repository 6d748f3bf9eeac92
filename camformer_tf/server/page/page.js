// The page: sequences go to the server, and its answers into the table.

import * as box from "./box.js";
import * as mutations from "./mutations.js";
import * as requests from "./server.js";
import * as sequences from "./sequences.js";
import * as table from "./table.js";

const MAX_SEQUENCES = 100_000; // more are for the command line
const ROWS = 200; // added to the table at once
// Those of DREAM 2022, for the example if the card has none.
const FLANKS = { left: "TGCATTTTTTTCACATC", right: "GGTTACGGCTGTT" };
const EXAMPLE = [
  ["example 1", "CACGTGACCGGGTAATTTTTCCAATTTGCACCCAGGTATGACTCATTTTCTTCCGTAAAAAGCGTTTTTAAAAACTTGAC"],
  ["example 2", "GATTACAGGCCCCGCGGATATTTGCGGCTAAACCCTCTTAGCATAATTGTCGAATCCTGAAGTATACCAAGTTAGACATG"],
];

const part = (id) => document.getElementById(id);
const state = {
  server: null, rows: [], columns: [], order: [], limit: ROWS, sort: { key: "", descending: false },
  stop: null, // AbortController of the running prediction
};

const rule = () => state.server?.card?.rule ?? sequences.RULE;
const flanks = () => state.server?.card?.flanks ?? null;
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

// === The model ===

async function connect() {
  part("model").classList.remove("problem");
  try {
    state.server = await requests.connect(requests.address(location));
  } catch (failure) {
    state.server = null;
    part("model").classList.add("problem");
    part("model").textContent = failure.message;
    throw failure;
  }
  const { name, version, card, base } = state.server;
  const ensemble = card?.members > 1 ? `, mean of ${card.members} networks` : "";
  part("model").replaceChildren(
    `Model ${name}, version ${version}${ensemble}`, card?.model ? `: ${card.model}` : ".");
  if (!card) {
    part("model").append(" The server has no model card: no flanks and no percentiles.");
  }
  part("foot").textContent = `Sequences are sent to ${base} only.`;
  box.setRule(rule(), flanks());
}

// === Predictions ===

function notify(message, isProblem = false) {
  part("message").textContent = message;
  part("message").classList.toggle("problem", isProblem);
}

async function predict() {
  const rows = box.check();
  if (!rows.length) return notify("There is no sequence in the box yet.", true);
  if (rows.length > MAX_SEQUENCES) {
    const limit = MAX_SEQUENCES.toLocaleString("en");
    return notify(`${count(rows.length, "sequence")}: this page takes ${limit} at most; ` +
      "camformer-tf predict takes any number.", true);
  }
  state.stop?.abort();
  const stop = state.stop = new AbortController();
  notify("");
  setBusy(true);
  try {
    if (!state.server) await connect();
    await answer(stop.signal).catch(async (failure) => {
      if (failure.status !== 404) throw failure;
      const { version } = state.server; // a newer version may have replaced it
      await connect();
      if (state.server.version === version) throw failure;
      notify(`The server now has version ${state.server.version} of the model; predicting with ` +
        "it.");
      await answer(stop.signal);
    });
    finish();
  } catch (failure) {
    if (stop !== state.stop) return;
    const n = state.rows.filter((row) => row.answer).length;
    const stay = n === 1 ? "stays" : "stay";
    const partial = n ? ` ${count(n, "prediction")} ${stay} in the table.` : "";
    if (stop.signal.aborted) notify(`Cancelled.${partial}`);
    else {
      const advice = "Your text is still in the box: press Predict to try again.";
      notify(`${failure.message} ${advice}${partial}`, true);
    }
  } finally {
    if (stop === state.stop) setBusy(false);
  }
}

/** Predicts all rows of the box; the table shows the first answers early, and all at the end. */
async function answer(signal) {
  const { server } = state;
  const rows = box.check();
  const readable = rows.filter((row) => !row.error);
  const takeAnswers = () => {
    for (const row of readable) {
      row.answer ??= server.answers.get(row.sequence) ?? null;
      if (row.answer?.valid === false) {
        row.error = server.card?.reasons?.[row.answer.reason] || "the model cannot read this";
        Object.assign(row, { answer: null, errorLine: row.line });
      }
    }
  };
  mutations.close();
  Object.assign(state, { rows, limit: ROWS });
  part("progress").value = 0;
  let isDrawn = false;
  const progress = (value, max) => {
    Object.assign(part("progress"), { max, value });
    notify(`${value.toLocaleString("en")} of ${count(max, "sequence")} predicted …`);
    if (isDrawn || signal.aborted) return;
    isDrawn = true;
    takeAnswers();
    show();
  };
  try {
    const batch = readable.map((row) => row.sequence);
    await requests.predict(server, batch, { signal, progress, notify });
  } finally {
    if (!signal.aborted || state.rows === rows) {
      takeAnswers();
      show();
    }
  }
}

function finish() {
  const errors = state.rows.filter((row) => row.error).length;
  const summary = errors ? `; ${errors.toLocaleString("en")} cannot be read` : "";
  notify(`${count(state.rows.length - errors, "sequence")} predicted${summary}.`);
  part("results").scrollIntoView({ block: "start" });
}

function setBusy(isBusy) {
  if (!isBusy && document.activeElement === part("cancel")) part("predict").focus();
  part("work").hidden = !isBusy;
  part("progress").removeAttribute("value");
}

// === The table ===

function show() {
  part("results").hidden = !state.rows.some((row) => row.answer || row.error);
  state.columns = table.columns(state.server, state.rows, select);
  if (!state.columns.some((column) => column.key === state.sort.key)) state.sort = { key: "" };
  const sortColumn = state.columns.find((column) => column.key === state.sort.key);
  state.order = table.sortRows(state.rows, sortColumn, state.sort.descending);
  table.head(part("table").tHead, state.columns, state.sort, sort);
  part("legend").textContent = legend();
  showRows();
}

function showRows() {
  table.body(part("table").tBodies[0], state.order.slice(0, state.limit), state.columns);
  const remaining = state.order.length - state.limit;
  part("more").hidden = remaining <= 0;
  part("more").textContent =
    `Show ${Math.min(remaining, ROWS)} more of ${remaining.toLocaleString("en")}`;
}

function legend() {
  const { card } = state.server;
  const sentences = ["Select a name to see the effects of single mutations.",
    "Predictions are on the scale of the training data."];
  const has = (key) => state.columns.some((column) => column.key === key);
  if (has("interval") && card?.coverage) {
    const percent = Math.round(card.coverage * 100);
    sentences.push(`${percent} % of such intervals contain the measured value.`);
  }
  if (has("spread")) sentences.push("Spread: standard deviation between the networks.");
  if (has("measured")) {
    sentences.push("Percentile: percentage of the " +
      `${card.measured.n.toLocaleString("en")} measured sequences (${card.measured.of}) whose ` +
      "expression is lower.");
  }
  return sentences.join(" ");
}

function sort(column) {
  const isSameColumn = state.sort.key === column.key;
  const descending = isSameColumn ? !state.sort.descending : Boolean(column.numeric);
  state.sort = { key: column.key, descending };
  show();
  const index = state.columns.findIndex(({ key }) => key === column.key);
  part("table").tHead.rows[0].cells[index].firstElementChild.focus();
}

function select(row) {
  const rowWithTitle = { ...row, name: table.title(row) };
  mutations.open(state.server, rowWithTitle, { length: rule().length, flanks: flanks() });
}

// === Buttons and keys ===

function listen() {
  part("form").addEventListener("submit", (event) => {
    event.preventDefault();
    predict();
  });
  part("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predict();
  });
  part("cancel").addEventListener("click", () => state.stop?.abort());
  part("example").addEventListener("click", () => {
    const { left, right } = FLANKS;
    const complete = (core) => (flanks() ? core : left + core + right);
    box.add(EXAMPLE.map(([name, core]) => `${name}\t${complete(core)}\n`).join(""));
  });
  part("more").addEventListener("click", () => {
    const first = state.limit;
    state.limit += ROWS;
    showRows();
    part("table").tBodies[0].rows[first].querySelector("button").focus();
  });
  part("csv").addEventListener("click", () => {
    const { name, version } = state.server;
    const file = new Blob([table.file(state.server, state.order)], { type: "text/csv" });
    sequences.download(`${name}-${version}-predictions.csv`, file);
  });
}

listen();
box.listen(notify);
mutations.listen();
box.check();
connect().catch(() => {}); // the page shows the message; Predict tries again
