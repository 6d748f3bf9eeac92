// Text becomes sequences that the model can read, or a message that says why it cannot.

export const RULE = { length: 110, length_margin: 3, max_n: 3 }; // where there is no model card

/** Returns the entries of a text (lines, NAME<TAB>SEQUENCE, FASTA), in order: their name, the line
 * where they start (from 1), and their letters as in the text, in pieces {line, letters}. */
export function parse(text) {
  const entries = [];
  let fasta = null;
  text.split(/\r\n|\n|\r/).forEach((raw, index) => {
    const line = index + 1;
    if (raw.startsWith(">")) {
      fasta = { name: raw.slice(1).trim(), line, pieces: [] };
      entries.push(fasta);
    } else if (raw.trim() && fasta) {
      fasta.pieces.push({ line, letters: raw.replace(/\s/g, "") });
    } else if (raw.trim()) {
      entries.push(parseLine(raw, line));
    }
  });
  return entries;
}

function parseLine(raw, line) {
  const fields = raw.replace(/\t\s*$/, "").split("\t");
  const [name, letters] = fields.length > 1 ? fields : ["", raw];
  const pieces = [{ line, letters: letters.replace(/\s/g, "") }];
  const entry = { name: name.trim(), line, pieces };
  if (fields.length > 2) entry.error = `${fields.length} columns; expected NAME, a tab, SEQUENCE`;
  else if (fields.length > 1 && /^\s*[-+]?[\d.]/.test(letters)) {
    entry.error = "the second column is a number; expected NAME, a tab, SEQUENCE";
  }
  return entry;
}

/** Returns an entry as a row: `input`, the letters as in the text; `sequence`, as it goes to the
 * model; `flankLengths`, the numbers of letters added [left, right]; or `error` and `errorLine`. */
export function check(entry, rule, flanks) {
  const input = entry.pieces.map((piece) => piece.letters).join("");
  const row = { name: entry.name, line: entry.line, input, sequence: "",
    flankLengths: [0, 0] };
  const refuse = (error, line = entry.line) => ({ ...row, error, errorLine: line });
  if (entry.error) return refuse(entry.error);
  if (!input) return refuse("there is no sequence under this name");
  let sequence = input.toUpperCase().replaceAll("U", "T");
  let start = 0;
  for (const piece of entry.pieces) {
    const match = /[^ACGTUN]/iu.exec(piece.letters);
    if (match) {
      const position = start + match.index + 1;
      return refuse(`letter ${match[0]} at position ${position} is not one of A, C, G, T, N`,
        piece.line);
    }
    start += piece.letters.length;
  }
  const n = sequence.split("N").length - 1;
  if (n > rule.max_n) return refuse(`${n} letters N; the maximum is ${rule.max_n}`);
  if (flanks && sequence.length === coreLength(rule, flanks)) {
    sequence = flanks.left + sequence + flanks.right;
    row.flankLengths = [flanks.left.length, flanks.right.length];
  }
  if (Math.abs(sequence.length - rule.length) > rule.length_margin) {
    return refuse(`length ${sequence.length}; ${lengths(rule, flanks)}`);
  }
  return { ...row, sequence, error: "" };
}

/** Returns a clause that says which lengths the model reads. */
export function lengths(rule, flanks) {
  const { length, length_margin: margin } = rule;
  const range = margin ? `${length - margin} to ${length + margin}` : `${length}`;
  return `the model reads ${range} letters` +
    (flanks ? `, or a core of ${coreLength(rule, flanks)} letters, to which flanks are added` : "");
}

/** Returns the lengths of the flanks that a sequence has, [left, right]; zero without flanks. */
export function flankLengths(sequence, flanks) {
  const has = flanks && sequence.startsWith(flanks.left) && sequence.endsWith(flanks.right);
  return has ? [flanks.left.length, flanks.right.length] : [0, 0];
}

/** Returns the number of letters between the flanks. */
export function coreLength(rule, flanks) {
  return rule.length - flanks.left.length - flanks.right.length;
}

/** Appends a sequence to an element, with its flanks in another colour. */
export function show(element, sequence, flanks) {
  const [left, right] = flankLengths(sequence, flanks);
  const parts = [sequence.slice(0, left), sequence.slice(left, sequence.length - right),
    sequence.slice(sequence.length - right)];
  parts.forEach((letters, i) => {
    const part = document.createElement("span");
    part.className = i === 1 ? "core" : "flank";
    part.textContent = letters;
    element.append(part);
  });
}

/** Returns rows of fields as CSV (RFC 4180). A field that a spreadsheet would run as a formula gets
 * an apostrophe before it. */
export function csv(rows) {
  const field = (value) => {
    let text = value == null ? "" : String(value);
    if (typeof value !== "number" && /^[=+\-@\t]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(field).join(",") + "\r\n").join("");
}

/** Starts the download of a file. */
export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
