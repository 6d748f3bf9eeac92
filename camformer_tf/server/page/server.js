// Requests to the embedded server or to TensorFlow Serving: the same paths, the same answers.

const CHUNK = 512; // sequences in one request
const ATTEMPTS = 5;
const LONGEST_WAIT = 30; // seconds between two attempts
const TIME_LIMIT = 60; // seconds for one request
const KEPT = 200_000; // answers remembered

/** A failure in words for a person. `status` is HTTP's, 0 where no answer came. */
export class Failure extends Error {
  constructor(words, status = 0) {
    super(words);
    this.status = status;
  }
}

/** Returns what JSON says, with null for the bare NaN and Infinity that servers write. */
export function parse(text) {
  const tokens = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity|inf|nan)\b/g;
  return JSON.parse(text.replace(tokens, (token) => (token[0] === '"' ? token : "null")));
}

/** Returns which server and model the address of the page names. */
export function address(location) {
  const asked = new URLSearchParams(location.search);
  const base = (asked.get("server") || new URL(".", location.href).href).replace(/\/+$/, "");
  if (!/^https?:\/\/[^/]/.test(base)) {
    throw new Failure(`server=${base}: expected an address such as http://localhost:8501`);
  }
  return { base, model: asked.get("model"), elsewhere: new URL(base).origin !== location.origin };
}

/** Returns the newest version of the model that is served, and its card (null where the server
 * has none, as TensorFlow Serving). */
export async function connect({ base, model, elsewhere }) {
  const server = { base, elsewhere, name: model, version: "", card: null, answers: new Map() };
  server.name ||= await modelName(server);
  const path = `/v1/models/${encodeURIComponent(server.name)}`;
  const told = await fetchOnce(server, path);
  const ready = (told.model_version_status ?? []).filter((one) => one.state === "AVAILABLE");
  if (!ready.length) throw new Failure(`${server.name}: no version is ready at ${base}.`, 503);
  server.version = ready.map((one) => one.version).sort((a, b) => b - a)[0];
  server.path = `${path}/versions/${server.version}`;
  try {
    server.card = await fetchOnce(server, `${server.path}/card`);
  } catch (failure) {
    // A refused path has no CORS headers everywhere, so that elsewhere it may look like no answer.
    if (failure.status !== 404 && failure.status !== 400 && !elsewhere) throw failure;
  }
  return server;
}

async function modelName(server) {
  try {
    return (await fetchOnce(server, "/v1/models")).models[0];
  } catch (failure) {
    if (!server.elsewhere) throw failure;
    throw new Failure(`${failure.message} If it is TensorFlow Serving, also name the model: add ` +
      "&model=NAME to the address of this page.", failure.status);
  }
}

/** Returns for each sequence what the model answers, {expression, valid, …}; asks for each once.
 *
 * `progress` is called with the number of sequences done after each request, `notice` with words
 * while it waits for a busy server. What was answered before a failure is remembered. */
export async function predict(server, sequences, { signal, progress = () => {}, notice }) {
  if (server.answers.size > KEPT) server.answers.clear();
  const wanted = [...new Set(sequences)].filter((one) => !server.answers.has(one));
  for (let start = 0; start < wanted.length; start += CHUNK) {
    const chunk = wanted.slice(start, start + CHUNK);
    const body = JSON.stringify({ signature_name: "serving_default", instances: chunk });
    const told = await patiently(server, `${server.path}:predict`, { body, signal, notice });
    if (told.predictions?.length !== chunk.length) {
      throw new Failure(`${server.name} does not answer as a promoter model does.`);
    }
    chunk.forEach((one, i) => server.answers.set(one, told.predictions[i]));
    progress(start + chunk.length, wanted.length);
  }
  return sequences.map((one) => server.answers.get(one));
}

async function patiently(server, path, { body, signal, notice }) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fetchOnce(server, path, { body, signal });
    } catch (failure) {
      const busy = failure.status === 503 || failure.status === 429;
      if (!busy || attempt === ATTEMPTS) throw failure;
      const wait = Math.min(failure.retryAfter ?? 2 ** (attempt - 1), LONGEST_WAIT);
      const attempts = `attempt ${attempt + 1} of ${ATTEMPTS}`;
      notice(`The server is busy; trying again in ${wait} s (${attempts}).`);
      await pause(wait, signal);
    }
  }
}

async function fetchOnce(server, path, { body, signal } = {}) {
  const control = new AbortController();
  const stop = () => control.abort();
  signal?.addEventListener("abort", stop);
  const clock = setTimeout(stop, TIME_LIMIT * 1000);
  try {
    signal?.throwIfAborted();
    // As text/plain, a browser asks another server without asking for leave first.
    const headers = { "Content-Type": server.elsewhere ? "text/plain" : "application/json" };
    const options = body ? { method: "POST", body, headers } : {};
    const reply = await fetch(server.base + path, { ...options, signal: control.signal });
    const text = await reply.text();
    if (!reply.ok) throw refusal(server, reply, text);
    return parse(text);
  } catch (error) {
    if (error instanceof Failure || signal?.aborted) throw error;
    if (control.signal.aborted) {
      throw new Failure(`The server did not answer within ${TIME_LIMIT} s.`);
    }
    if (error instanceof SyntaxError) throw new Failure(`${server.base}${path} answers no JSON.`);
    throw new Failure(silence(server));
  } finally {
    clearTimeout(clock);
    signal?.removeEventListener("abort", stop);
  }
}

function refusal(server, reply, text) {
  let words = text.slice(0, 300);
  try {
    words = parse(text).error ?? words;
  } catch { /* no JSON: the text as it is */ }
  const failure = new Failure(`The server answers ${reply.status}: ${words}`, reply.status);
  const wait = Number.parseFloat(reply.headers.get("Retry-After"));
  if (wait >= 0) failure.retryAfter = wait;
  return failure;
}

function silence(server) {
  return server.elsewhere
    ? `No answer from ${server.base}. Either nothing listens there, or it does not answer other ` +
      "pages: start TensorFlow Serving with --rest_api_enable_cors_support=true."
    : "The server does not answer. Is camformer-tf serve still running?";
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const clock = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(clock);
      reject(signal.reason);
    });
  });
}
