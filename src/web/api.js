// Requests to this node's API: the token, and errors as sentences.

/** @typedef {import("../api/types.ts").Problem} Problem */

const TOKEN_KEY = "dmnode.token";

/** A request came to nothing. The message is a sentence for the user. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0: the node does not answer @param {Problem | null} problem */
  constructor(message, status, problem) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
  }
}

/** The token that the user gave, for as long as this tab lives; null where there is none. */
export function token() {
  return sessionStorage.getItem(TOKEN_KEY);
}

/** @param {string | null} value */
export function keepToken(value) {
  if (value === null) sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, value);
}

/** @returns {Record<string, string>} */
export function authorization() {
  const given = token();
  return given === null ? {} : { authorization: `Bearer ${given}` };
}

/**
 * The subprotocols of a WebSocket: a browser can't set headers on one, so the token travels in a name.
 *
 * @returns {string[]}
 */
export function socketProtocols() {
  const given = token();
  if (given === null) return ["dmnode"];
  const text = btoa(String.fromCharCode(...new TextEncoder().encode(given)));
  const base64url = text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return ["dmnode", `bearer.${base64url}`];
}

/**
 * A request whose answer is a success.
 *
 * @param {string} path @param {RequestInit} [options]
 * @throws {ApiError}
 */
export async function request(path, { headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...authorization(), ...headers } });
  } catch {
    if (options.signal?.aborted) throw new ApiError("Cancelled.", 0, null);
    throw new ApiError("The node does not answer.", 0, null);
  }
  if (response.ok) return response;
  throw errorOf(response.status, await response.text());
}

/**
 * @template T
 * @param {string} path @param {RequestInit} [options]
 * @returns {Promise<T>}
 */
export async function json(path, options) {
  return await (await request(path, options)).json();
}

/** What an unsuccessful answer says. @param {number} status @param {string} body */
export function errorOf(status, body) {
  const problem = parseProblem(body);
  return new ApiError(
    problem?.detail ?? `The node answered with status ${status}.`,
    status,
    problem,
  );
}

/** @param {string} body @returns {Problem | null} */
function parseProblem(body) {
  try {
    const value = JSON.parse(body);
    return typeof value?.detail === "string" ? value : null;
  } catch {
    return null;
  }
}

/**
 * What to tell of whatever was thrown.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
