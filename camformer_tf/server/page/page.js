// The page: what is typed goes to the server, and its answers into the table.

import * as box from "./box.js";
import * as mutations from "./mutations.js";
import * as requests from "./server.js";
import * as sequences from "./sequences.js";
import * as table from "./table.js";

const MOST = 100_000; // sequences; more are for the command line
const ROWS = 200; // shown at a time
// DREAM 2022's, for an example where no card has any.
const FLANKS = { left: "TGCATTTTTTTCACATC", right: "GGTTACGGCTGTT" };
const EXAMPLE = [
  ["example 1", "CACGTGACCGGGTAATTTTTCCAATTTGCACCCAGGTATGACTCATTTTCTTCCGTAAAAAGCGTTTTTAAAAACTTGAC"],
  ["example 2", "GATTACAGGCCCCGCGGATATTTGCGGCTAAACCCTCTTAGCATAATTGTCGAATCCTGAAGTATACCAAGTTAGACATG"],
];

const part = (id) => document.getElementById(id);
const state = {
  server: null, rows: [], all: [], order: [], shown: ROWS, sort: { key: "", descending: false },
  stop: null, // of the prediction that is under way
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
  const many = card?.members > 1 ? `, mean of ${card.members} networks` : "";
  part("model").replaceChildren(
    `Model ${name}, version ${version}${many}`, card?.model ? `: ${card.model}` : ".");
  if (!card) {
    part("model").append(" The server gives no model card: neither flanks nor percentiles.");
  }
  part("foot").textContent = `Sequences go to ${base} and nowhere else.`;
  box.follow(rule(), flanks());
}

// === Predictions ===

function say(words, bad = false) {
  part("said").textContent = words;
  part("said").classList.toggle("problem", bad);
}

async function predict() {
  const rows = box.look();
  if (!rows.length) return say("There is no sequence in the box yet.", true);
  if (rows.length > MOST) {
    return say(`${count(rows.length, "sequence")}: this page takes ${MOST.toLocaleString("en")}; ` +
      "camformer-tf predict takes any number.", true);
  }
  state.stop?.abort();
  const stop = state.stop = new AbortController();
  say("");
  busy(true);
  try {
    if (!state.server) await connect();
    await answer(stop.signal).catch(async (failure) => {
      if (failure.status !== 404) throw failure;
      const before = state.server.version; // another version may have taken its place
      await connect();
      if (state.server.version === before) throw failure;
      say(`The server has version ${state.server.version} of the model now; predicting with that.`);
      await answer(stop.signal);
    });
    finish();
  } catch (failure) {
    if (stop !== state.stop) return;
    const done = state.rows.filter((row) => row.answer).length;
    const rest = done ? ` ${count(done, "prediction")} stay in the table.` : "";
    if (stop.signal.aborted) say(`Cancelled.${rest}`);
    else {
      const again = "Nothing that you typed is lost: press Predict to try again.";
      say(`${failure.message} ${again}${rest}`, true);
    }
  } finally {
    if (stop === state.stop) busy(false);
  }
}

/** Asks for all rows of the box; the table has what there is after each request. */
async function answer(signal) {
  const { server } = state;
  const rows = box.look();
  const readable = rows.filter((row) => !row.error);
  const take = () => {
    for (const row of readable) {
      row.answer ??= server.answers.get(row.sequence) ?? null;
      if (row.answer?.valid === false) {
        row.error = server.card?.reasons?.[row.answer.reason] || "the model cannot read this";
        Object.assign(row, { answer: null, errorLine: row.line });
      }
    }
  };
  mutations.close();
  Object.assign(state, { rows, shown: ROWS });
  part("progress").value = 0;
  let drawn = false;
  const progress = (done, all) => {
    Object.assign(part("progress"), { max: all, value: done });
    say(`${done.toLocaleString("en")} of ${count(all, "sequence")} predicted …`);
    if (drawn || signal.aborted) return;
    drawn = true;
    take();
    show();
  };
  try {
    const wanted = readable.map((row) => row.sequence);
    await requests.predict(server, wanted, { signal, progress, notice: say });
  } finally {
    if (!signal.aborted || state.rows === rows) {
      take();
      show();
    }
  }
}

function finish() {
  const bad = state.rows.filter((row) => row.error).length;
  const done = state.rows.length - bad;
  const unread = bad ? `; ${bad.toLocaleString("en")} cannot be read` : "";
  say(`${count(done, "sequence")} predicted${unread}.`);
  part("results").scrollIntoView({ block: "start" });
}

function busy(going) {
  if (!going && document.activeElement === part("cancel")) part("predict").focus();
  part("work").hidden = !going;
  part("progress").removeAttribute("value");
}

// === The table ===

function show() {
  part("results").hidden = !state.rows.some((row) => row.answer || row.error);
  state.all = table.columns(state.server, state.rows, choose);
  if (!state.all.some((column) => column.key === state.sort.key)) state.sort = { key: "" };
  const by = state.all.find((column) => column.key === state.sort.key);
  state.order = table.sorted(state.rows, by, state.sort.descending);
  table.head(part("table").tHead, state.all, state.sort, sort);
  part("legend").textContent = legend();
  showRows();
}

function showRows() {
  table.body(part("table").tBodies[0], state.order.slice(0, state.shown), state.all);
  const rest = state.order.length - state.shown;
  part("more").hidden = rest <= 0;
  part("more").textContent = `Show ${Math.min(rest, ROWS)} more of ${rest.toLocaleString("en")}`;
}

function legend() {
  const { card } = state.server;
  const told = ["Choose a name to see what single changes would do.",
    "Predictions are on the scale of the measurements that the model learned from."];
  const has = (key) => state.all.some((column) => column.key === key);
  if (has("interval") && card?.coverage) {
    told.push(`Of such intervals, ${Math.round(card.coverage * 100)} % hold the measured value.`);
  }
  if (has("spread")) told.push("Spread: how far the networks disagree (standard deviation).");
  if (has("measured")) {
    told.push(`Among measured: the share of ${card.measured.n.toLocaleString("en")} measured ` +
      `sequences (${card.measured.of}) whose expression is lower.`);
  }
  return told.join(" ");
}

function sort(column) {
  const again = state.sort.key === column.key;
  const descending = again ? !state.sort.descending : Boolean(column.numeric);
  state.sort = { key: column.key, descending };
  show();
  const place = state.all.findIndex((one) => one.key === column.key);
  part("table").tHead.rows[0].cells[place].firstElementChild.focus();
}

function choose(row) {
  const named = { ...row, name: table.title(row) };
  mutations.open(state.server, named, { length: rule().length, flanks: flanks() });
}

// === What is pressed ===

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
    const whole = (core) => (flanks() ? core : left + core + right);
    box.add(EXAMPLE.map(([name, core]) => `${name}\t${whole(core)}\n`).join(""));
  });
  part("more").addEventListener("click", () => {
    const first = state.shown;
    state.shown += ROWS;
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
box.listen(say);
mutations.listen();
box.look();
connect().catch(() => {}); // its words are on the page; Predict tries again
