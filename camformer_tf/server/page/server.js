// Requests to the embedded server or to TensorFlow Serving, which have the same protocol.

const CHUNK = 512; // sequences in one request
const ATTEMPTS = 5;
const MAX_WAIT = 30; // seconds between two attempts
const TIME_LIMIT = 60; // seconds for one request
const MAX_ANSWERS = 200_000; // in memory

/** A failure with a message for the user; `status` is that of HTTP, 0 if there was no answer. */
export class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Returns the value of a JSON text, with null for the bare NaN and Infinity of servers. */
export function parse(text) {
  const tokens = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity|inf|nan)\b/g;
  return JSON.parse(text.replace(tokens, (token) => (token[0] === '"' ? token : "null")));
}

/** Returns the server and the model that the address of the page asks for. */
export function address(location) {
  const query = new URLSearchParams(location.search);
  const base = (query.get("server") || new URL(".", location.href).href).replace(/\/+$/, "");
  if (!/^https?:\/\/[^/]/.test(base)) {
    throw new Failure(`server=${base}: expected an address such as http://localhost:8501`);
  }
  return { base, model: query.get("model"), isForeign: new URL(base).origin !== location.origin };
}

/** Returns the newest version of the model that the server has, and its card (null if the server
 * has none, such as TensorFlow Serving). */
export async function connect({ base, model, isForeign }) {
  const server = { base, isForeign, name: model, version: "", card: null, answers: new Map() };
  server.name ||= await modelName(server);
  const path = `/v1/models/${encodeURIComponent(server.name)}`;
  const { model_version_status: statuses = [] } = await fetchOnce(server, path);
  const versions = statuses.filter((status) => status.state === "AVAILABLE")
    .map((status) => status.version);
  if (!versions.length) {
    throw new Failure(`${server.name}: no version is available at ${base}.`, 503);
  }
  server.version = versions.sort((a, b) => b - a)[0];
  server.path = `${path}/versions/${server.version}`;
  try {
    server.card = await fetchOnce(server, `${server.path}/card`);
  } catch (failure) {
    // The refusal of a path may lack CORS headers, so that from a foreign server it may look like
    // no answer.
    if (failure.status !== 404 && failure.status !== 400 && !isForeign) throw failure;
  }
  return server;
}

async function modelName(server) {
  try {
    return (await fetchOnce(server, "/v1/models")).models[0];
  } catch (failure) {
    if (!server.isForeign) throw failure;
    throw new Failure(`${failure.message} If it is TensorFlow Serving, name the model, too: add ` +
      "&model=NAME to the address of this page.", failure.status);
  }
}

/** Returns the answer of the model to each sequence, {expression, valid, …}; asks for each once.
 *
 * `progress` is called after each request with the number of sequences that have an answer,
 * `notify` with a message while it waits for a busy server. Answers from before a failure stay in
 * memory. */
export async function predict(server, sequences, { signal, progress = () => {}, notify }) {
  if (server.answers.size > MAX_ANSWERS) server.answers.clear();
  const missing = [...new Set(sequences)].filter((sequence) => !server.answers.has(sequence));
  for (let start = 0; start < missing.length; start += CHUNK) {
    const chunk = missing.slice(start, start + CHUNK);
    const body = JSON.stringify({ signature_name: "serving_default", instances: chunk });
    const path = `${server.path}:predict`;
    const { predictions } = await fetchPatiently(server, path, { body, signal, notify });
    if (predictions?.length !== chunk.length) {
      throw new Failure(`${server.name} does not answer like a promoter model.`);
    }
    chunk.forEach((sequence, i) => server.answers.set(sequence, predictions[i]));
    progress(start + chunk.length, missing.length);
  }
  return sequences.map((sequence) => server.answers.get(sequence));
}

async function fetchPatiently(server, path, { body, signal, notify }) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fetchOnce(server, path, { body, signal });
    } catch (failure) {
      const busy = failure.status === 503 || failure.status === 429;
      if (!busy || attempt === ATTEMPTS) throw failure;
      const wait = Math.min(failure.retryAfter ?? 2 ** (attempt - 1), MAX_WAIT);
      const attempts = `attempt ${attempt + 1} of ${ATTEMPTS}`;
      notify(`The server is busy; trying again in ${wait} s (${attempts}).`);
      await pause(wait, signal);
    }
  }
}

async function fetchOnce(server, path, { body, signal } = {}) {
  const control = new AbortController();
  const stop = () => control.abort();
  signal?.addEventListener("abort", stop);
  const timer = setTimeout(stop, TIME_LIMIT * 1000);
  try {
    signal?.throwIfAborted();
    // With text/plain, a browser asks a foreign server without a preflight request.
    const headers = { "Content-Type": server.isForeign ? "text/plain" : "application/json" };
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
    if (error instanceof SyntaxError) {
      throw new Failure(`The answer of ${server.base}${path} is not JSON.`);
    }
    throw new Failure(noAnswer(server));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

function refusal(server, reply, text) {
  let message = text.slice(0, 300);
  try {
    message = parse(text).error ?? message;
  } catch { /* not JSON: the text as it is */ }
  const failure = new Failure(`The server answers ${reply.status}: ${message}`, reply.status);
  const wait = Number.parseFloat(reply.headers.get("Retry-After"));
  if (wait >= 0) failure.retryAfter = wait;
  return failure;
}

function noAnswer(server) {
  return server.isForeign
    ? `No answer from ${server.base}. Either no server runs there, or it does not allow other ` +
      "pages to read its answers: start TensorFlow Serving with " +
      "--rest_api_enable_cors_support=true."
    : "The server does not answer. Is camformer-tf serve still running?";
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
