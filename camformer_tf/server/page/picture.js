// The map of single mutants as a PNG, always on white.

import * as map from "./map.js";
import * as table from "./table.js";

const CELL = [12, 22]; // CSS pixels
const EDGE = 24;
const SCALE = 2; // pixels of the file per CSS pixel

/** Returns a promise of the picture as a Blob. */
export function png(server, { name, sequence, prediction, changes }) {
  const [cellWidth, cellHeight] = CELL;
  const places = Math.max(...changes.map((change) => change.place)) + 1;
  const top = EDGE + 54;
  const canvas = document.createElement("canvas");
  canvas.width = (2 * EDGE + places * cellWidth) * SCALE;
  canvas.height = (top + 5 * cellHeight + 60) * SCALE;
  const pen = canvas.getContext("2d");
  pen.scale(SCALE, SCALE);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const write = (text, x, y, font = "13px sans-serif", align = "left") => {
    Object.assign(pen, { fillStyle: "#1d2024", font, textAlign: align });
    pen.fillText(text, x, y);
  };
  write(`${name}: prediction ${table.number(prediction)}`, EDGE, EDGE + 6, "bold 15px sans-serif");
  write("change of the prediction by each single mutation; " +
    `${server.name}, version ${server.version}`, EDGE, EDGE + 26);
  const x = (place) => EDGE + place * cellWidth;
  const y = (row) => top + (row + 1) * cellHeight;
  const largest = Math.max(...changes.map((change) => Math.abs(change.effect)), 1e-9);
  for (let place = 0; place < places; place++) {
    write(sequence[place], x(place) + cellWidth / 2, top + 16, "12px monospace", "center");
    if ((place + 1) % 10 === 0) {
      write(String(place + 1), x(place + 1), top - 4, "10px sans-serif", "right");
    }
    const row = map.LETTERS.indexOf(sequence[place]);
    if (row >= 0) {
      write("·", x(place) + cellWidth / 2, y(row) + 16, "bold 14px sans-serif", "center");
    }
  }
  map.LETTERS.forEach((letter, row) => write(letter, EDGE - 12, y(row) + 16, "12px monospace"));
  for (const { place, to, effect } of changes) {
    pen.fillStyle = `rgb(${map.colour(effect / largest).join(" ")})`;
    pen.fillRect(x(place), y(map.LETTERS.indexOf(to)), cellWidth - 0.5, cellHeight - 0.5);
  }
  legend(pen, write, y(4) + 18, largest);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function legend(pen, write, y, largest) {
  const steps = 120;
  for (let i = 0; i < steps; i++) {
    pen.fillStyle = `rgb(${map.colour((2 * i) / (steps - 1) - 1).join(" ")})`;
    pen.fillRect(EDGE + 60 + 2 * i, y, 2, 14);
  }
  write(table.withSign(-largest, 2), EDGE + 54, y + 12, "12px sans-serif", "right");
  write("0", EDGE + 60 + steps, y + 28, "12px sans-serif", "center");
  write(`${table.withSign(largest, 2)}   (· letter of the sequence)`, EDGE + 66 + 2 * steps,
    y + 12, "12px sans-serif");
}
