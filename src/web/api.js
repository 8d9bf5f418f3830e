// Sends requests to the node's API with the token, and turns failures into messages for the user.

import { parseJson } from "./json.js";

/** @typedef {import("../reports/problem.ts").ProblemDocument} Problem */

const TOKEN_KEY = "dmnode.token";

/** Time limit for the headers of an answer that a view waits for without showing progress. */
export const ANSWER_WITHIN_MS = 15_000;

/** Ends a request after this time. @param {number} ms @returns {AbortSignal} */
export function within(ms) {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), ms);
  return abort.signal;
}

/** A failed request. The message is a sentence for the user. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0 if the node did not answer @param {Problem | null} problem */
  constructor(message, status, problem) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
  }
}

/** The token that the user entered in this tab, or null. */
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
 * The subprotocols of a WebSocket. A browser cannot set headers on a WebSocket, so one subprotocol carries the token.
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
 * Sends a request and returns its successful response.
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
  return parseJson(await (await request(path, options)).text());
}

/** Turns an unsuccessful response into an error. @param {number} status @param {string} body */
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
    const value = parseJson(body);
    return typeof value?.detail === "string" ? value : null;
  } catch {
    return null;
  }
}

/**
 * Returns the message of any thrown value.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
