// One sequence, changed letter by letter: the map of what else could be changed, and the way back.

import * as map from "./map.js";
import * as picture from "./picture.js";
import * as requests from "./server.js";
import * as sequences from "./sequences.js";
import * as table from "./table.js";

const part = (id) => document.getElementById(id);

// `steps` {place, from, to} are the changes made; `view` is what is shown, of the steps then.
const state = { server: null, row: null, rule: null, steps: [], view: null, grid: null,
  chosen: null, stop: null };

/** Shows the map of a row {name, sequence, answer}; `rule` {length, flanks}. */
export function open(server, row, rule) {
  Object.assign(state, { server, row, rule, steps: [], view: null });
  part("map").hidden = false;
  part("map-body").hidden = true;
  part("map-title").textContent = `Single mutants of ${row.name}`;
  part("map").scrollIntoView({ block: "start" });
  part("map-title").focus({ preventScroll: true });
  return update();
}

export function close() {
  state.stop?.abort();
  state.row = null;
  part("map").hidden = true;
}

/** Returns the sequence before all changes, after the first, and so on. */
function chain(row, steps) {
  const found = [row.sequence];
  for (const { place, to } of steps) found.push(map.mutate(found.at(-1), place, to));
  return found;
}

const current = () => chain(state.row, state.steps).at(-1);

/** Asks for the sequence as it is now and all its mutants, and shows them; if that fails, what is
 * shown stays. */
async function update() {
  state.stop?.abort();
  const stop = state.stop = new AbortController();
  const { server, row, rule, steps } = state;
  const made = chain(row, steps);
  const sequence = made.at(-1);
  const changes = map.mutants(sequence, rule.length);
  if (!state.view) tell("Predicting all single mutants …");
  try {
    const wanted = [...made, ...changes.map((change) => change.sequence)];
    const all = await requests.predict(server, wanted, { signal: stop.signal, notice: tell });
    if (stop.signal.aborted) return;
    const answers = all.splice(0, made.length);
    const own = answers.at(-1);
    changes.forEach((change, i) => Object.assign(change, {
      answer: all[i], prediction: all[i].expression, effect: all[i].expression - own.expression,
    }));
    state.view = { name: row.name, sequence, steps, answers, own, prediction: own.expression,
      changes, original: row.sequence, flanks: rule.flanks };
    show();
  } catch (failure) {
    if (stop.signal.aborted) return;
    state.steps = state.view?.steps ?? [];
    const gone = " The server may have another version of the model now: predict again.";
    tell(failure.message + (failure.status === 404 ? gone : ""), true);
  }
}

function tell(words, bad = false) {
  part("effect").textContent = words;
  part("effect").classList.toggle("problem", bad);
}

function show() {
  const { view } = state;
  const { steps, own, answers } = view;
  part("map-body").hidden = false;
  state.grid.draw(view);
  state.grid.refresh();
  const before = answers[0].expression;
  if (steps.length) {
    const change = table.signed(own.expression - before);
    tell(`With ${steps.map(map.written).join(", ")}: prediction ${table.number(before)} → ` +
      `${table.number(own.expression)} (${change})${interval(own)}.`);
  } else {
    tell(`As it is: prediction ${table.number(own.expression)}${interval(own)}.`);
  }
  part("history").replaceChildren(...steps.map((step, i) => {
    const [from, to] = [answers[i].expression, answers[i + 1].expression];
    const item = document.createElement("li");
    item.textContent = `${map.written(step)}: ${table.number(from)} → ${table.number(to)} ` +
      `(${table.signed(to - from)})`;
    return item;
  }));
  map.largest(part("rises"), view.changes, 1, state.grid.focus);
  map.largest(part("falls"), view.changes, -1, state.grid.focus);
  const most = Math.max(...view.changes.map((change) => Math.abs(change.effect)));
  part("scale-low").textContent = `falls by ${table.number(most)}`;
  part("scale-high").textContent = `rises by ${table.number(most)}`;
  part("undo").disabled = part("reset").disabled = !steps.length;
}

function interval(answer) {
  if (answer.lower == null) return "";
  return `, interval ${table.number(answer.lower)} to ${table.number(answer.upper)}`;
}

function make({ place, to }) {
  const from = current()[place];
  if (from === to) return;
  state.steps = [...state.steps, { place, from, to }];
  update();
}

function undo(all = false) {
  if (!state.steps.length) return;
  state.steps = all ? [] : state.steps.slice(0, -1);
  update();
}

/** Says what the active cell is; the letter that is there already has no change. */
function pick(change, cell, place) {
  state.chosen = change;
  part("change").disabled = !change;
  const [left, right] = sequences.flanksOf(state.view.sequence, state.view.flanks);
  const inside = place >= left && place < state.view.sequence.length - right;
  const where = left && inside ? ` (${place - left + 1} of the core)` : left ? " (flank)" : "";
  const words = cell.ariaLabel.replace(",", `${where},`);
  part("cell-text").textContent = `${words[0].toUpperCase()}${words.slice(1)}.`;
}

function tip(event) {
  const cell = event.target.closest?.("td[data-place]");
  const change = cell && state.grid.state.changes.get(cell);
  part("tip").hidden = !change;
  if (!change) return;
  part("tip").textContent = `${map.written(change)}  ${table.number(change.prediction)}  ` +
    `(${table.signed(change.effect)})`;
  const box = cell.getBoundingClientRect();
  const wide = part("tip").offsetWidth;
  const x = Math.min(Math.max(box.left + box.width / 2 - wide / 2, 8), innerWidth - wide - 8);
  part("tip").style.left = `${x}px`;
  part("tip").style.top = `${box.top - part("tip").offsetHeight - 8}px`;
}

function save(kind, blob) {
  const { server, view } = state;
  const name = view.name.replace(/[^\w.-]+/g, "_").slice(0, 60);
  sequences.download(`${server.name}-${server.version}-${name}-mutants.${kind}`, blob);
}

export function listen() {
  state.grid = map.grid(part("grid"), part("ramp"), { pick, make });
  part("change").addEventListener("click", () => state.chosen && make(state.chosen));
  part("undo").addEventListener("click", () => undo());
  part("reset").addEventListener("click", () => undo(true));
  part("copy").addEventListener("click", (event) => table.copyText(current(), event.target));
  part("map-csv").addEventListener("click", () =>
    save("csv", new Blob([map.file(state.server, state.view)], { type: "text/csv" })));
  part("map-png").addEventListener("click", async () =>
    save("png", await picture.png(state.server, state.view)));
  part("grid").addEventListener("pointerover", tip);
  part("grid").addEventListener("focusin", tip);
  const hide = () => { part("tip").hidden = true; };
  part("grid").addEventListener("pointerleave", hide);
  part("grid").addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const typing = event.target.closest?.("textarea, input");
    if (event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !typing) {
      if (part("map").hidden || !state.steps.length) return;
      event.preventDefault();
      undo();
    }
  });
}
