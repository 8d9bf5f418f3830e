// Transfers values between the page and the node: stores with progress, fetches that can be cancelled. Seals and opens
// values in the page where the browser allows it.

import { ApiError, authorization, errorOf, request } from "./api.js";
import { parseJson } from "./json.js";
import { mediaType } from "./media_type.js";
import { HEADER_BYTES, isSealed, open, openedSize, seal, SealError } from "./seal.js";

/** @typedef {import("../reports/values.ts").Stored} Stored */

/**
 * Whether the page itself can seal and open values. Browsers offer no cryptography to pages that are loaded over
 * plain HTTP from another machine. For such a page, the node seals and opens the values, and gets the key in a
 * header.
 */
export function canSeal() {
  return crypto.subtle !== undefined;
}

/**
 * Seals bytes. The browser may keep the parts of a Blob on disk.
 *
 * @param {Blob} body @param {string} key @param {AbortSignal} signal the rest is not sealed once it fires
 */
async function sealedBlob(body, key, signal) {
  const parts = [];
  for await (const part of seal(/** @type {any} */ (body.stream()), key)) {
    if (signal.aborted) break;
    parts.push(new Blob([part]));
  }
  return new Blob(parts);
}

/**
 * Stores bytes with XMLHttpRequest, which reports upload progress. `fetch` does not. With a `sealKey`, seals them first.
 *
 * @param {{
 *   body: Blob, key: string, cas: number | bigint | null, sealKey: string | null, label: string,
 *   onSent: (bytes: number) => void, signal: AbortSignal,
 * }} store
 * @returns {Promise<Stored>}
 * @throws {ApiError}
 */
export async function storeValue({ body, sealKey, ...store }) {
  const isSealedHere = sealKey !== null && canSeal();
  return await send({
    ...store,
    body: isSealedHere ? await sealedBlob(body, sealKey, store.signal) : body,
    sealKey: isSealedHere ? null : sealKey,
  });
}

/**
 * Sends a value to the node, which seals it if there is a `sealKey`.
 *
 * @param {Parameters<typeof storeValue>[0]} store
 * @returns {Promise<Stored>}
 */
function send({ body, key, cas, sealKey, label, onSent, signal }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new ApiError("Cancelled.", 0, null));
    const sending = new XMLHttpRequest();
    const query = new URLSearchParams({
      ...(key === "" ? {} : { key, cas: `${cas}` }),
      ...(sealKey === null ? {} : { seal: "1" }),
    });
    sending.open("POST", query.size === 0 ? "/network/store" : `/network/store?${query}`);
    const headers = {
      ...authorization(),
      "content-type": "application/octet-stream",
      "x-transfer-label": label,
      ...sealHeader(sealKey),
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

/** @param {string | null} sealKey @returns {Record<string, string>} */
function sealHeader(sealKey) {
  return sealKey === null ? {} : { "x-seal-key": sealKey };
}

/**
 * @typedef {object} Fetched
 * @property {Blob} body
 * @property {string} type the media type of the content
 * @property {boolean} isSealed whether the value is sealed and was not opened
 * @property {string | null} seq
 * @property {string | null} publicKey
 * @property {number} elapsedMs
 */

/**
 * Fetches a value. With a `sealKey`, opens it.
 *
 * @param {{
 *   hash: string, key: string, sealKey: string | null, onReceived: (bytes: number, total: number | null) => void,
 *   signal: AbortSignal,
 * }} fetch
 * @returns {Promise<Fetched>}
 * @throws {ApiError}
 */
export async function fetchValue({ hash, key, sealKey, onReceived, signal }) {
  const begun = performance.now(), isOpenedHere = sealKey !== null && canSeal();
  const query = key === "" ? "" : `?key=${encodeURIComponent(key)}`;
  const headers = sealHeader(isOpenedHere ? null : sealKey);
  const response = await request(`/data/${hash}${query}`, { signal, headers, cache: "no-store" });
  const length = response.headers.get("content-length");
  const received = length === null ? null : Number(length);
  const total = received !== null && isOpenedHere ? openedSize(received) : received;
  const body = /** @type {any} */ (response.body ?? []);
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const pieces = [];
  let size = 0;
  try {
    for await (const piece of isOpenedHere ? open(body, sealKey) : body) {
      pieces.push(piece);
      size += piece.length;
      onReceived(size, total);
    }
  } catch (error) {
    throw new ApiError(whyStopped(error, signal), 0, null);
  }
  const first = pieces[0] ?? new Uint8Array(0);
  // Use a neutral type, so that the browser never opens the value as a page of this origin.
  const value = new Blob(pieces, { type: "application/octet-stream" });
  return {
    body: value,
    type: isOpenedHere
      ? mediaType(first, first.length === total)
      : response.headers.get("content-type") ?? "application/octet-stream",
    // The first piece may be shorter than the header.
    isSealed: isSealed(new Uint8Array(await value.slice(0, HEADER_BYTES).arrayBuffer())),
    seq: response.headers.get("x-seq"),
    publicKey: response.headers.get("x-public-key"),
    elapsedMs: performance.now() - begun,
  };
}

/** @param {unknown} error @param {AbortSignal} signal */
function whyStopped(error, signal) {
  if (signal.aborted) return "Cancelled.";
  if (error instanceof SealError) return error.message;
  return "The download stopped: the network has no copy of one of the parts.";
}

/** Lets the browser save a value as a file. @param {Blob} body @param {string} name */
export function saveAs(body, name) {
  const url = URL.createObjectURL(body);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // Release the URL later, when the browser has started to read the blob.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
