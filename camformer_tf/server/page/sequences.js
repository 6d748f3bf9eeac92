// What is typed becomes sequences that the model can read, or words about why it cannot.

export const RULE = { length: 110, length_margin: 3, max_n: 3 }; // where no model card says it

/** Returns the sequences of a text (lines, NAME<TAB>SEQUENCE, FASTA), in order: their name, the
 * line they start at (from 1), and their letters as typed, in pieces {line, letters}. */
export function parse(text) {
  const found = [];
  let fasta = null;
  text.split(/\r\n|\n|\r/).forEach((raw, index) => {
    const line = index + 1;
    if (raw.startsWith(">")) {
      fasta = { name: raw.slice(1).trim(), line, pieces: [] };
      found.push(fasta);
    } else if (raw.trim() && fasta) {
      fasta.pieces.push({ line, letters: raw.replace(/\s/g, "") });
    } else if (raw.trim()) {
      found.push(plain(raw, line));
    }
  });
  return found;
}

function plain(raw, line) {
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

/** Returns an entry as a row: `sequence`, as it goes to the model, with `added` [left, right]
 * letters of flanks; or the `error` and the line that it concerns. */
export function check(entry, rule, flanks) {
  const given = entry.pieces.map((piece) => piece.letters).join("");
  const row = { name: entry.name, line: entry.line, given, sequence: "", added: [0, 0] };
  const refuse = (error, line = entry.line) => ({ ...row, error, errorLine: line });
  if (entry.error) return refuse(entry.error);
  if (!given) return refuse("no sequence under this name");
  let sequence = given.toUpperCase().replaceAll("U", "T");
  let start = 0;
  for (const piece of entry.pieces) {
    const strange = /[^ACGTUN]/iu.exec(piece.letters);
    if (strange) {
      const place = start + strange.index + 1;
      return refuse(`letter ${strange[0]} at position ${place} is none of A C G T N`, piece.line);
    }
    start += piece.letters.length;
  }
  const n = sequence.split("N").length - 1;
  if (n > rule.max_n) return refuse(`${n} letters N, more than ${rule.max_n}`);
  if (flanks && sequence.length === core(rule, flanks)) {
    sequence = flanks.left + sequence + flanks.right;
    row.added = [flanks.left.length, flanks.right.length];
  }
  if (Math.abs(sequence.length - rule.length) > rule.length_margin) {
    return refuse(`length ${sequence.length}; ${lengths(rule, flanks)}`);
  }
  return { ...row, sequence, error: "" };
}

/** Returns which lengths are read, in words. */
export function lengths(rule, flanks) {
  const { length, length_margin: margin } = rule;
  const whole = margin ? `${length - margin} to ${length + margin}` : `${length}`;
  return `the model reads ${whole} letters` +
    (flanks ? `, or a core of ${core(rule, flanks)} that flanks are added to` : "");
}

/** Returns where the flanks end and begin in a sequence, [left, right] letters; zero without. */
export function flanksOf(sequence, flanks) {
  const has = flanks && sequence.startsWith(flanks.left) && sequence.endsWith(flanks.right);
  return has ? [flanks.left.length, flanks.right.length] : [0, 0];
}

export function core(rule, flanks) {
  return rule.length - flanks.left.length - flanks.right.length;
}

/** Appends a sequence to an element, its flanks in another tone. */
export function show(place, sequence, flanks) {
  const [left, right] = flanksOf(sequence, flanks);
  const parts = [sequence.slice(0, left), sequence.slice(left, sequence.length - right),
    sequence.slice(sequence.length - right)];
  parts.forEach((letters, i) => {
    const part = document.createElement("span");
    part.className = i === 1 ? "core" : "flank";
    part.textContent = letters;
    place.append(part);
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

/** Gives a file to the person. */
export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
