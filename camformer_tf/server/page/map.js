// The map of all single mutants of one sequence, as a grid for mouse, finger and keyboard.

import * as sequences from "./sequences.js";
import * as table from "./table.js";

export const LETTERS = ["A", "C", "G", "T"];
const MAX_LISTED = 5; // changes in each list of the largest

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

/** Returns the name of a change: A45G, with the place from 1. */
export const notation = ({ place, from, to }) => `${from}${place + 1}${to}`;

/** Returns the colour of a change, −1 to 1, as [red, green, blue] from 0 to 255: blue for a
 * decrease, orange for an increase, which colour-blind users can distinguish. */
export function colour(amount, dark = false) {
  const neutral = dark ? [47, 51, 56] : [247, 247, 245];
  const decrease = dark ? [92, 170, 240] : [23, 92, 160];
  const increase = dark ? [245, 150, 60] : [196, 84, 8];
  const end = amount < 0 ? decrease : increase;
  const share = Math.min(Math.abs(amount), 1) ** 0.8;
  return neutral.map((from, i) => Math.round(from + (end[i] - from) * share));
}

const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** Returns the colours from −1 to 1 as a CSS background. */
function ramp(dark) {
  const stops = Array.from({ length: 21 }, (_, i) => css(colour(i / 10 - 1, dark)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** Returns a grid within a table element, and colours the element `scale`. `describe` is called
 * with the change of the cell that becomes active (null for the letter of the sequence), `apply`
 * with the change that is clicked or entered. */
export function grid(element, scale, { describe, apply }) {
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
    describe(state.changes.get(cell) ?? null, cell, column);
  };
  const find = (target) => {
    const cell = target.closest("td");
    const isLetter = cell && (state.changes.has(cell) || cell.classList.contains("unchanged"));
    return isLetter ? cell : null;
  };
  const indices = (cell) => [Number(cell.dataset.row), Number(cell.dataset.place)];
  let firstTouch = null; // the first touch of a cell describes it, the second changes it
  element.addEventListener("pointerdown", (event) => {
    const cell = find(event.target);
    firstTouch = event.pointerType === "touch" && cell !== document.activeElement ? cell : null;
  });
  element.addEventListener("click", (event) => {
    const cell = find(event.target);
    if (!cell) return;
    activate(...indices(cell), true);
    if (firstTouch !== cell && state.changes.has(cell)) apply(state.changes.get(cell));
  });
  element.addEventListener("focusin", (event) => {
    const cell = find(event.target);
    if (cell) activate(...indices(cell), false);
  });
  element.addEventListener("keydown", (event) => {
    const cell = find(event.target);
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = move(event.key, indices(cell), state.cells[0].length);
    if (target) activate(...target, true);
    else if (event.key === "Enter" || event.key === " ") {
      if (state.changes.has(cell)) apply(state.changes.get(cell));
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

/** Returns the indices of the cell that a key leads to, or null for another key. */
function move(key, [row, column], width) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
    PageUp: [0, -10], PageDown: [0, 10], Home: [0, -width], End: [0, width] };
  if (!(key in steps)) return null;
  const clamp = (value, count) => Math.max(0, Math.min(value, count - 1));
  return [clamp(row + steps[key][0], LETTERS.length), clamp(column + steps[key][1], width)];
}

/** Writes a view into the cells. Cells are reused, so that the focus stays. */
function draw(element, state, view) {
  const { sequence, original, changes, flanks } = view;
  const width = Math.max(...changes.map((change) => change.place)) + 1;
  if (state.cells[0]?.length !== width) {
    state.cells = build(element, width);
    state.active = [0, Math.min(sequences.flankLengths(sequence, flanks)[0], width - 1)];
    state.cells[0][state.active[1]].tabIndex = 0;
  }
  state.largest = Math.max(...changes.map((change) => Math.abs(change.effect)), 1e-9);
  state.changes.clear();
  const [left, right] = sequences.flankLengths(sequence, flanks);
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
    cell.classList.toggle("unchanged", !change);
    cell.textContent = change ? "" : sequence[cell.dataset.place];
    cell.ariaLabel = change ? description(change) :
      `position ${Number(cell.dataset.place) + 1}, ${sequence[cell.dataset.place]}, unchanged`;
  }
}

/** Returns the description of a change. */
export const description = (change) =>
  `position ${change.place + 1}, ${change.from} to ${change.to}: prediction ` +
  `${table.number(change.prediction)}, change ${table.withSign(change.effect)}`;

function build(element, width) {
  const create = (tag, className, text = "") => {
    const child = document.createElement(tag);
    child.className = className;
    child.textContent = text;
    return child;
  };
  const ruler = create("tr", "ruler");
  ruler.ariaHidden = "true";
  ruler.append(create("td", ""));
  for (let place = 0; place < width; place += 10) {
    const mark = create("td", "", place + 10 <= width ? String(place + 10) : "");
    mark.colSpan = Math.min(10, width - place);
    ruler.append(mark);
  }
  const top = create("tr", "sequence-letters");
  top.setAttribute("role", "row");
  const corner = create("th", "");
  corner.setAttribute("role", "columnheader");
  corner.ariaLabel = "letter";
  top.append(corner);
  const rows = LETTERS.map((letter, row) => {
    const line = create("tr", "");
    line.setAttribute("role", "row");
    const head = create("th", "", letter);
    head.setAttribute("role", "rowheader");
    line.append(head);
    const cells = Array.from({ length: width }, (_, place) => {
      const cell = create("td", "");
      cell.setAttribute("role", "gridcell");
      cell.tabIndex = -1;
      Object.assign(cell.dataset, { row, place });
      return cell;
    });
    line.append(...cells);
    return { line, cells };
  });
  for (let place = 0; place < width; place++) {
    const head = create("th", "letter");
    head.setAttribute("role", "columnheader");
    top.append(head);
  }
  element.replaceChildren(ruler, top, ...rows.map((row) => row.line));
  return rows.map((row) => row.cells);
}

/** Writes the largest increases (or decreases) into a list; `select` is called with the one that is
 * clicked. */
export function largest(list, changes, sign, select) {
  const listing = changes.filter((change) => change.effect * sign > 0)
    .sort((a, b) => (b.effect - a.effect) * sign).slice(0, MAX_LISTED);
  list.replaceChildren(...listing.map((change) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = `${notation(change)} ${table.withSign(change.effect)}`;
    button.addEventListener("click", () => select(change));
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
