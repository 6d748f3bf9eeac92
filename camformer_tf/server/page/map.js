// The map of all single mutants of one sequence, as a grid that is walked, clicked and saved.

import * as sequences from "./sequences.js";
import * as table from "./table.js";

export const LETTERS = ["A", "C", "G", "T"];
const LISTED = 5; // changes in each list of the largest

/** Returns all single mutants of the letters that the model reads: {place, from, to, sequence},
 * place from 0. */
export function mutants(sequence, length) {
  return [...sequence.slice(0, length)].flatMap((from, place) =>
    LETTERS.filter((to) => to !== from).map((to) => ({
      place, from, to, sequence: mutate(sequence, place, to),
    })));
}

export const mutate = (sequence, place, to) =>
  sequence.slice(0, place) + to + sequence.slice(place + 1);

/** Returns how a change is written: A45G, places from 1. */
export const written = ({ place, from, to }) => `${from}${place + 1}${to}`;

/** Returns the colour of a change, −1 to 1: blue falls, orange rises, both told apart by the
 * colour-blind; [red, green, blue] from 0 to 255. */
export function colour(amount, dark = false) {
  const none = dark ? [47, 51, 56] : [247, 247, 245];
  const fall = dark ? [92, 170, 240] : [23, 92, 160];
  const rise = dark ? [245, 150, 60] : [196, 84, 8];
  const end = amount < 0 ? fall : rise;
  const share = Math.min(Math.abs(amount), 1) ** 0.8;
  return none.map((from, i) => Math.round(from + (end[i] - from) * share));
}

const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** Returns the colours from −1 to 1 as a CSS background. */
function ramp(dark) {
  const stops = Array.from({ length: 21 }, (_, i) => css(colour(i / 10 - 1, dark)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** Returns a grid within a table element, and colours the element that tells its scale. `pick` is
 * called with a cell's change (null on the own letter) as it becomes the active one, `make` as it
 * is chosen. */
export function grid(element, scale, { pick, make }) {
  const state = { cells: [], active: [0, 0], changes: new Map(), largest: 1 };
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => {
    scale.style.background = ramp(scheme.matches);
    for (const cell of state.cells.flat()) {
      const change = state.changes.get(cell);
      cell.style.backgroundColor =
        change ? css(colour(change.effect / state.largest, scheme.matches)) : "";
    }
  };
  scheme.addEventListener("change", paint);
  const activate = (row, column, focus) => {
    state.cells[state.active[0]]?.[state.active[1]]?.setAttribute("tabindex", "-1");
    state.active = [row, column];
    const cell = state.cells[row][column];
    cell.tabIndex = 0;
    if (focus) cell.focus();
    pick(state.changes.get(cell) ?? null, cell, column);
  };
  const find = (target) => {
    const cell = target.closest("td");
    return cell && state.changes.has(cell) ? cell : cell?.classList.contains("own") ? cell : null;
  };
  const where = (cell) => [Number(cell.dataset.row), Number(cell.dataset.place)];
  let touched = null; // by a finger, the first touch looks and the second changes
  element.addEventListener("pointerdown", (event) => {
    const cell = find(event.target);
    touched = event.pointerType === "touch" && cell !== document.activeElement ? cell : null;
  });
  element.addEventListener("click", (event) => {
    const cell = find(event.target);
    if (!cell) return;
    activate(...where(cell), true);
    if (touched !== cell && state.changes.has(cell)) make(state.changes.get(cell));
  });
  element.addEventListener("focusin", (event) => {
    const cell = find(event.target);
    if (cell) activate(...where(cell), false);
  });
  element.addEventListener("keydown", (event) => {
    const cell = find(event.target);
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = walked(event.key, where(cell), state.cells[0].length);
    if (to) activate(...to, true);
    else if (event.key === "Enter" || event.key === " ") {
      if (state.changes.has(cell)) make(state.changes.get(cell));
    } else return;
    event.preventDefault();
  });
  return {
    state,
    draw: (view) => { draw(element, state, view); paint(); },
    focus: (change) => activate(LETTERS.indexOf(change.to), change.place, true),
    refresh: () => activate(...state.active, false),
  };
}

/** Returns where a key leads from a cell, or null. */
function walked(key, [row, column], width) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
    PageUp: [0, -10], PageDown: [0, 10], Home: [0, -width], End: [0, width] };
  if (!(key in steps)) return null;
  const within = (value, count) => Math.max(0, Math.min(value, count - 1));
  return [within(row + steps[key][0], LETTERS.length), within(column + steps[key][1], width)];
}

/** Writes what a view holds into the cells; those that are there stay, and with them the focus. */
function draw(element, state, view) {
  const { sequence, original, changes, flanks } = view;
  const width = Math.max(...changes.map((change) => change.place)) + 1;
  if (state.cells[0]?.length !== width) {
    state.cells = build(element, width);
    state.active = [0, Math.min(sequences.flanksOf(sequence, flanks)[0], width - 1)];
    state.cells[0][state.active[1]].tabIndex = 0;
  }
  state.largest = Math.max(...changes.map((change) => Math.abs(change.effect)), 1e-9);
  state.changes.clear();
  const [left, right] = sequences.flanksOf(sequence, flanks);
  element.querySelectorAll("th.letter").forEach((head, place) => {
    head.textContent = sequence[place];
    head.classList.toggle("flank", place < left || place >= sequence.length - right);
    head.classList.toggle("changed", sequence[place] !== original[place]);
  });
  for (const change of changes) {
    state.changes.set(state.cells[LETTERS.indexOf(change.to)][change.place], change);
  }
  for (const cell of state.cells.flat()) {
    const change = state.changes.get(cell);
    cell.classList.toggle("own", !change);
    cell.textContent = change ? "" : sequence[cell.dataset.place];
    cell.ariaLabel = change ? words(change) :
      `position ${Number(cell.dataset.place) + 1}, ${sequence[cell.dataset.place]}, as it is`;
  }
}

/** Returns a change in words. */
export const words = (change) =>
  `position ${change.place + 1}, ${change.from} to ${change.to}: prediction ` +
  `${table.number(change.prediction)}, change ${table.signed(change.effect)}`;

function build(element, width) {
  const make = (tag, className, text = "") => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const ruler = make("tr", "ruler");
  ruler.ariaHidden = "true";
  ruler.append(make("td", ""));
  for (let place = 0; place < width; place += 10) {
    const mark = make("td", "", place + 10 <= width ? String(place + 10) : "");
    mark.colSpan = Math.min(10, width - place);
    ruler.append(mark);
  }
  const top = make("tr", "own-letters");
  top.setAttribute("role", "row");
  const corner = make("th", "");
  corner.setAttribute("role", "columnheader");
  corner.ariaLabel = "letter";
  top.append(corner);
  const rows = LETTERS.map((letter, row) => {
    const line = make("tr", "");
    line.setAttribute("role", "row");
    const head = make("th", "", letter);
    head.setAttribute("role", "rowheader");
    line.append(head);
    const cells = Array.from({ length: width }, (_, place) => {
      const cell = make("td", "");
      cell.setAttribute("role", "gridcell");
      cell.tabIndex = -1;
      Object.assign(cell.dataset, { row, place });
      return cell;
    });
    line.append(...cells);
    return { line, cells };
  });
  for (let place = 0; place < width; place++) {
    const head = make("th", "letter");
    head.setAttribute("role", "columnheader");
    top.append(head);
  }
  element.replaceChildren(ruler, top, ...rows.map((row) => row.line));
  return rows.map((row) => row.cells);
}

/** Writes the largest rises (or falls) into a list; `go` is called with the one that is pressed. */
export function largest(list, changes, sign, go) {
  const some = changes.filter((change) => change.effect * sign > 0)
    .sort((a, b) => (b.effect - a.effect) * sign).slice(0, LISTED);
  list.replaceChildren(...some.map((change) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = `${written(change)} ${table.signed(change.effect)}`;
    button.addEventListener("click", () => go(change));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

/** Returns the map as CSV. */
export function file(server, { name, sequence, changes }) {
  const outputs = ["lower", "upper", "spread"].filter((key) => changes[0].answer[key] != null);
  const rows = changes.map((change) => [name, change.place + 1, change.from, change.to,
    change.prediction, change.effect, ...outputs.map((key) => change.answer[key]),
    change.sequence, server.name, server.version]);
  return sequences.csv([["name", "position", "from", "to", "prediction", "change", ...outputs,
    "sequence", "model", "version"], ...rows]);
}
