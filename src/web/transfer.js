// Transfers values between the page and the node: stores with progress, fetches that can be cancelled.

import { ApiError, authorization, errorOf, request } from "./api.js";
import { parseJson } from "./json.js";

/** @typedef {import("../reports/values.ts").Stored} Stored */

/**
 * Stores bytes with XMLHttpRequest, which reports upload progress. `fetch` does not.
 *
 * @param {{
 *   body: Blob, key: string, cas: number | bigint | null, label: string, onSent: (bytes: number) => void, signal: AbortSignal,
 * }} store
 * @returns {Promise<Stored>}
 * @throws {ApiError}
 */
export function storeValue({ body, key, cas, label, onSent, signal }) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const query = key === "" ? "" : `?key=${encodeURIComponent(key)}&cas=${cas}`;
    sending.open("POST", `/network/store${query}`);
    const headers = {
      ...authorization(),
      "content-type": "application/octet-stream",
      "x-transfer-label": label,
    };
    for (const [name, value] of Object.entries(headers)) sending.setRequestHeader(name, value);
    sending.upload.onprogress = ({ loaded }) => onSent(loaded);
    sending.onload = () => {
      if (sending.status === 201) resolve(parseJson(sending.responseText));
      else reject(errorOf(sending.status, sending.responseText));
    };
    sending.onerror = () => reject(new ApiError("The node closed the connection.", 0, null));
    sending.onabort = () => reject(new ApiError("Cancelled.", 0, null));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(body);
  });
}

/**
 * @typedef {object} Fetched
 * @property {Blob} body
 * @property {string} type the content type that the node reports
 * @property {string | null} seq
 * @property {string | null} publicKey
 * @property {number} elapsedMs
 */

/**
 * Fetches a value.
 *
 * @param {{ hash: string, key: string, onReceived: (bytes: number, total: number | null) => void, signal: AbortSignal }} fetch
 * @returns {Promise<Fetched>}
 * @throws {ApiError}
 */
export async function fetchValue({ hash, key, onReceived, signal }) {
  const begun = performance.now();
  const query = key === "" ? "" : `?key=${encodeURIComponent(key)}`;
  const response = await request(`/data/${hash}${query}`, { signal, cache: "no-store" });
  const length = response.headers.get("content-length");
  const total = length === null ? null : Number(length);
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const pieces = [];
  let received = 0;
  try {
    for await (const piece of /** @type {any} */ (response.body ?? [])) {
      pieces.push(piece);
      received += piece.length;
      onReceived(received, total);
    }
  } catch {
    throw new ApiError(
      signal.aborted
        ? "Cancelled."
        : "The download stopped: the network has no copy of one of the parts.",
      0,
      null,
    );
  }
  const type = response.headers.get("content-type") ?? "application/octet-stream";
  return {
    // Use a neutral type, so that the browser never opens the value as a page of this origin.
    body: new Blob(pieces, { type: "application/octet-stream" }),
    type,
    seq: response.headers.get("x-seq"),
    publicKey: response.headers.get("x-public-key"),
    elapsedMs: performance.now() - begun,
  };
}

/** Lets the browser save a value as a file. @param {Blob} body @param {string} name */
export function saveAs(body, name) {
  const url = URL.createObjectURL(body);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // By then, the browser has started to read the blob.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
