// Forms on the API's reference page that send requests to the node that serves the page.

import { element } from "./element.js";
import { jsonText, parseJson } from "./json.js";

/** @typedef {{ summary: string, value: unknown }} Example */
/** @typedef {Record<string, { examples?: Record<string, Example> }>} Content by media type */
/** @typedef {{ name: string, in: string, required?: boolean, schema: { enum?: unknown[] }, example?: string | number }} Parameter */
/**
 * The members of an operation in the OpenAPI document that forms need.
 *
 * @typedef {{ operationId: string, security?: unknown, parameters?: Parameter[], requestBody?: { content: Content } }} Operation
 */
/** @typedef {{ paths: Record<string, Record<string, Operation | undefined>> }} Document */
/** @typedef {{ method: string, path: string, operation: Operation }} Named */
/** @typedef {{ type: string, summary: string, text: string }} Body */
/** @typedef {{ parameter: Parameter, input: HTMLInputElement | HTMLSelectElement }} Field */

/** The longest part of a response that is shown, in characters. A longer one would make the page slow. */
const MAX_SHOWN = 100_000;

/** The bearer token. The page keeps it in this variable only, so a reload forgets it. */
let token = "";

/** @type {Promise<Map<string, Named>> | undefined} */
let operations;

/** Reads the document once. @returns {Promise<Map<string, Named>>} operations by their ids */
function operationsOnce() {
  operations ??= readOperations();
  // A failed request is repeated at the next click.
  operations.catch(() => operations = undefined);
  return operations;
}

async function readOperations() {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`The node answered with status ${response.status}.`);
  /** @type {Document} */
  const document = await response.json();
  const found = new Map(/** @type {[string, Named][]} */ ([]));
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of ["get", "head", "post", "put", "delete"]) {
      const operation = item[method];
      if (operation !== undefined) {
        found.set(operation.operationId, { method, path, operation });
      }
    }
  }
  return found;
}

/** Adds a button to each operation. The first click replaces the button by a form. */
export function addTryButtons() {
  for (const article of document.querySelectorAll("article.operation[data-try]")) {
    const place = /** @type {HTMLElement} */ (article.querySelector(".shown"));
    const title = article.querySelector("h3")?.textContent ?? "";
    const button = element(
      "button",
      { type: "button", "aria-label": `Try it: ${title}` },
      "Try it",
    );
    const line = element("p", { class: "try-line" }, button);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const named = (await operationsOnce()).get(article.id);
        if (named === undefined) throw new Error("The document lacks this operation.");
        const form = tryForm(named, title);
        line.replaceWith(form);
        /** @type {HTMLElement | null} */ (form.querySelector("input, select, textarea, button"))
          ?.focus();
      } catch (error) {
        button.disabled = false;
        line.replaceChildren(
          button,
          ` The form needs /openapi.json: ${messageOf(error)} Try again.`,
        );
      }
    });
    place.prepend(line);
  }
}

/** @param {Named} named @param {string} title @returns {HTMLElement} */
function tryForm({ method, path, operation }, title) {
  const id = `try-${operation.operationId}`;
  const parameters =
    /** @type {Parameter[]} */ (/** @type {unknown} */ (operation.parameters ?? []));
  const fields = parameters.map((parameter) => fieldOf(parameter));
  const bodies = bodiesOf(operation), body = bodies.length === 0 ? null : bodyField(bodies);
  const send = element(
    "button",
    { type: "submit", class: "primary" },
    `Send ${method.toUpperCase()}`,
  );
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const result = element("div", { class: "try-result", role: "status" });
  const shown = element("div", {});
  const form = element(
    "form",
    { id, class: "try", "aria-label": `Try it: ${title}`, autocomplete: "off" },
    ...operation.security === undefined ? [] : [tokenField()],
    ...fields.map(({ parameter, input }) => labelled(parameter.name, noteOf(parameter), input)),
    ...body === null ? [] : body.parts,
    element("p", { class: "try-buttons" }, send, stop),
    result,
    shown,
  );
  /** @type {AbortController | undefined} */
  let abort;
  stop.addEventListener("click", () => abort?.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    abort?.abort();
    const mine = abort = new AbortController();
    stop.hidden = false;
    result.textContent = "Sending…";
    shown.replaceChildren();
    const request = requestOf(method, path, fields, body?.chosen());
    await perform(request, mine, { result, shown });
    if (abort !== mine) return;
    if (document.activeElement === stop) send.focus();
    stop.hidden = true;
  });
  return form;
}

/** @param {string} name @param {string} note @param {HTMLElement} input */
function labelled(name, note, input) {
  return element(
    "label",
    {},
    element("span", {}, element("code", {}, name), ` ${note}`),
    input,
  );
}

function tokenField() {
  const input = element("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  input.value = token;
  input.addEventListener("input", () => token = input.value.trim());
  return labelled("Token", "if the node has one; a reload of the page forgets it", input);
}

/** @param {Parameter} parameter */
function noteOf({ in: place, required }) {
  return required === true ? place : `${place}, optional`;
}

/** @param {Parameter} parameter @returns {Field} */
function fieldOf(parameter) {
  const { schema, example, required = false } = parameter;
  if (schema.enum !== undefined) {
    const options = schema.enum.map((value) => element("option", {}, String(value)));
    if (!required) options.unshift(element("option", { value: "" }, "not sent"));
    return { parameter, input: element("select", {}, ...options) };
  }
  const input = element("input", {
    type: "text",
    spellcheck: "false",
    autocapitalize: "off",
    required,
    placeholder: example === undefined ? undefined : `for example ${example}`,
  });
  if (required && example !== undefined) input.value = String(example);
  return { parameter, input };
}

/** Returns the examples of an operation's body. @param {Operation} operation @returns {Body[]} */
function bodiesOf({ requestBody }) {
  if (requestBody === undefined) return [];
  const { content } = requestBody;
  return Object.entries(content).flatMap(([type, { examples = {} }]) =>
    Object.values(examples).map(({ summary, value }) => ({
      type: type === "*/*" ? "text/plain" : type,
      summary,
      text: typeof value === "string" ? value : JSON.stringify(value, null, 2),
    }))
  );
}

/** @param {readonly Body[]} bodies */
function bodyField(bodies) {
  const select = element(
    "select",
    {},
    ...bodies.map(({ summary, type }, i) =>
      element("option", { value: `${i}` }, `${summary} (${type})`)
    ),
  );
  const area = element("textarea", { rows: "6", spellcheck: "false" });
  const fill = () => area.value = bodies[Number(select.value)].text;
  select.addEventListener("change", fill);
  fill();
  return {
    parts: [labelled("Example", "", select), labelled("Body", "", area)],
    chosen: () => ({ type: bodies[Number(select.value)].type, text: area.value }),
  };
}

/**
 * @param {string} method @param {string} path @param {readonly Field[]} fields
 * @param {{ type: string, text: string }} [body]
 * @returns {{ target: string, options: RequestInit }}
 */
function requestOf(method, path, fields, body) {
  const query = new URLSearchParams(), headers = new Headers();
  for (const { parameter: { name, in: place }, input: { value } } of fields) {
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value === "") continue;
    else if (place === "query") query.append(name, value);
    else headers.set(name, value);
  }
  if (token !== "") headers.set("authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("content-type", body.type);
  return {
    target: query.size === 0 ? path : `${path}?${query}`,
    options: { method: method.toUpperCase(), headers, body: body?.text, credentials: "omit" },
  };
}

/**
 * Sends a request, and shows the response while it arrives.
 *
 * @param {{ target: string, options: RequestInit }} request
 * @param {AbortController} abort
 * @param {{ result: HTMLElement, shown: HTMLElement }} places
 */
async function perform({ target, options }, abort, { result, shown }) {
  const start = performance.now();
  const elapsed = () => `${Math.round(performance.now() - start)} ms`;
  let line = "";
  try {
    const response = await fetch(target, { ...options, signal: abort.signal });
    const type = response.headers.get("content-type") ?? "";
    line = `${response.status} ${response.statusText}`.trim();
    result.textContent = `${line}, headers after ${elapsed()}.`;
    const headers = Array.from(response.headers, ([name, value]) => `${name}: ${value}`).join("\n");
    const text = element("pre", { tabindex: "0", "aria-label": "Body of the response" });
    shown.append(
      element(
        "details",
        {},
        element("summary", {}, "Headers"),
        element("pre", { tabindex: "0" }, headers),
      ),
      text,
    );
    const { length, isCut } = await readInto(text, response, type);
    result.textContent = length === 0 && response.body !== null
      ? `${line}, no body, after ${elapsed()}.`
      : `${line}, ${length} bytes after ${elapsed()}.${
        isCut ? " The page shows their beginning." : ""
      }`;
    if (length === 0) text.remove();
    else if (/^application\/([\w.-]+\+)?json\b/.test(type) && !isCut) {
      text.textContent = indented(text.textContent);
    }
  } catch (error) {
    const ending = abort.signal.aborted ? "Stopped." : `No complete answer: ${messageOf(error)}`;
    result.textContent = `${line === "" ? "" : `${line}. `}${ending}`;
  }
}

/**
 * Shows a body while it arrives, up to MAX_SHOWN characters.
 *
 * @param {HTMLElement} place @param {Response} response @param {string} type
 * @returns {Promise<{ length: number, isCut: boolean }>} the body's length in bytes
 */
async function readInto(place, response, type) {
  const isBinary = /^application\/(octet-stream|x-bencode)/.test(type);
  const decoder = new TextDecoder(), reader = response.body?.getReader();
  let length = 0, shown = 0;
  for (;;) {
    const { done, value = new Uint8Array() } = await reader?.read() ?? { done: true };
    if (done) return { length, isCut: shown > MAX_SHOWN };
    length += value.length;
    if (shown > MAX_SHOWN) continue;
    const text = isBinary ? hexOf(value) : decoder.decode(value, { stream: true });
    shown += text.length;
    place.append(text.slice(0, text.length - Math.max(0, shown - MAX_SHOWN)));
  }
}

/** @param {Uint8Array} bytes */
function hexOf(bytes) {
  return Array.from(
    bytes.subarray(0, MAX_SHOWN),
    (byte) => `${byte.toString(16).padStart(2, "0")} `,
  ).join("");
}

/** @param {string} text */
function indented(text) {
  try {
    return jsonText(parseJson(text), 2);
  } catch {
    return text;
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
