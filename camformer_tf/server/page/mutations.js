// One sequence, changed letter by letter: the map of its single mutants, and undo.

import * as map from "./map.js";
import * as picture from "./picture.js";
import * as requests from "./server.js";
import * as sequences from "./sequences.js";
import * as table from "./table.js";

const part = (id) => document.getElementById(id);

// `steps` {place, from, to} are the changes so far; `view` is what the map shows, which may be the
// answer to fewer steps.
const state = { server: null, row: null, rule: null, steps: [], view: null, grid: null,
  selection: null, stop: null };

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

/** Returns the sequence before the changes, after the first one, and so on. */
function chain(row, steps) {
  const variants = [row.sequence];
  for (const { place, to } of steps) variants.push(map.mutate(variants.at(-1), place, to));
  return variants;
}

const current = () => chain(state.row, state.steps).at(-1);

/** Predicts the current sequence and all its mutants, and shows them; after a failure, the map
 * stays as it is. */
async function update() {
  state.stop?.abort();
  const stop = state.stop = new AbortController();
  const { server, row, rule, steps } = state;
  const variants = chain(row, steps);
  const sequence = variants.at(-1);
  const changes = map.mutants(sequence, rule.length);
  if (!state.view) notify("Predicting all single mutants …");
  try {
    const batch = [...variants, ...changes.map((change) => change.sequence)];
    const mutantAnswers = await requests.predict(server, batch, { signal: stop.signal, notify });
    if (stop.signal.aborted) return;
    const answers = mutantAnswers.splice(0, variants.length);
    const prediction = answers.at(-1).expression;
    changes.forEach((change, i) => {
      const answer = mutantAnswers[i];
      const effect = answer.expression - prediction;
      Object.assign(change, { answer, prediction: answer.expression, effect });
    });
    state.view = { name: row.name, sequence, steps, answers, prediction,
      changes, original: row.sequence, flanks: rule.flanks };
    show();
  } catch (failure) {
    if (stop.signal.aborted) return;
    state.steps = state.view?.steps ?? [];
    const advice = " The server may have another version of the model now: predict again.";
    notify(failure.message + (failure.status === 404 ? advice : ""), true);
  }
}

function notify(message, isProblem = false) {
  part("effect").textContent = message;
  part("effect").classList.toggle("problem", isProblem);
}

function show() {
  const { view } = state;
  const { steps, answers, prediction } = view;
  part("map-body").hidden = false;
  state.grid.draw(view);
  state.grid.refresh();
  const original = answers[0].expression;
  if (steps.length) {
    const change = table.withSign(prediction - original);
    notify(`With ${steps.map(map.notation).join(", ")}: prediction ${table.number(original)} → ` +
      `${table.number(prediction)} (${change})${interval(answers.at(-1))}.`);
  } else {
    notify(`Original sequence: prediction ${table.number(prediction)}${interval(answers[0])}.`);
  }
  part("history").replaceChildren(...steps.map((step, i) => {
    const [from, to] = [answers[i].expression, answers[i + 1].expression];
    const item = document.createElement("li");
    item.textContent = `${map.notation(step)}: ${table.number(from)} → ${table.number(to)} ` +
      `(${table.withSign(to - from)})`;
    return item;
  }));
  map.largest(part("increases"), view.changes, 1, state.grid.focus);
  map.largest(part("decreases"), view.changes, -1, state.grid.focus);
  const largest = Math.max(...view.changes.map((change) => Math.abs(change.effect)));
  part("scale-low").textContent = `falls by ${table.number(largest)}`;
  part("scale-high").textContent = `rises by ${table.number(largest)}`;
  part("undo").disabled = part("reset").disabled = !steps.length;
}

function interval(answer) {
  if (answer.lower == null) return "";
  return `, interval ${table.number(answer.lower)} to ${table.number(answer.upper)}`;
}

function apply({ place, to }) {
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

/** Describes the active cell; the letter of the sequence itself has no change. */
function describe(change, cell, place) {
  state.selection = change;
  part("change").disabled = !change;
  const [left, right] = sequences.flankLengths(state.view.sequence, state.view.flanks);
  const isCore = place >= left && place < state.view.sequence.length - right;
  const region = left && isCore ? ` (${place - left + 1} of the core)` : left ? " (flank)" : "";
  const text = cell.ariaLabel.replace(",", `${region},`);
  part("cell-text").textContent = `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function tip(event) {
  const cell = event.target.closest?.("td[data-place]");
  const change = cell && state.grid.state.changes.get(cell);
  part("tip").hidden = !change;
  if (!change) return;
  part("tip").textContent = `${map.notation(change)}  ${table.number(change.prediction)}  ` +
    `(${table.withSign(change.effect)})`;
  const box = cell.getBoundingClientRect();
  const width = part("tip").offsetWidth;
  const x = Math.min(Math.max(box.left + box.width / 2 - width / 2, 8), innerWidth - width - 8);
  part("tip").style.left = `${x}px`;
  part("tip").style.top = `${box.top - part("tip").offsetHeight - 8}px`;
}

function save(kind, blob) {
  const { server, view } = state;
  const name = view.name.replace(/[^\w.-]+/g, "_").slice(0, 60);
  sequences.download(`${server.name}-${server.version}-${name}-mutants.${kind}`, blob);
}

export function listen() {
  state.grid = map.grid(part("grid"), part("ramp"), { describe, apply });
  part("change").addEventListener("click", () => state.selection && apply(state.selection));
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
