// Checks the API's responses against its OpenAPI document.

import assert from "node:assert/strict";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { type Document, type Operation, operationsOf } from "../../../src/api/docs/document.ts";

type Response_ = Exclude<NonNullable<Operation["responses"]>[string], { $ref: string }>;
type Header = Exclude<NonNullable<Response_["headers"]>[string], { $ref: string }>;

/** Headers that the document need not describe: those of HTTP itself, and those that servers and proxies may add. */
const OF_HTTP = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "date",
  "transfer-encoding",
  "vary",
]);

/** The parts of a response that are checked. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** The OpenAPI document that an API serves, with its schemas compiled. */
export class ServedDocument {
  readonly operations = new Map<string, Operation>();
  readonly #document: Document;
  readonly #ajv: Ajv2020;
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor(document: Document) {
    this.#document = closed(document);
    for (const { name, operation } of operationsOf(this.#document)) {
      this.operations.set(name, operation);
    }
    this.#ajv = new Ajv2020({ strict: false, allErrors: true });
    // deno-lint-ignore no-explicit-any
    (formats as any)(this.#ajv);
    this.#ajv.addSchema({ $id: "document", ...this.#document }, "document");
  }

  static async of(url: string): Promise<ServedDocument> {
    return new ServedDocument(await (await fetch(`${url}/openapi.json`)).json());
  }

  /** Resolves a reference. Returns anything else unchanged. */
  resolve<T>(given: T | { $ref: string }): T {
    if (typeof given !== "object" || given === null || !("$ref" in given)) return given as T;
    const parts = given.$ref.replace(/^#\//, "").split("/");
    // deno-lint-ignore no-explicit-any
    return this.resolve(parts.reduce((at: any, part) => at[unescape(part)], this.#document)) as T;
  }

  /** Returns the documented response for a status. */
  response(name: string, status: number): Response_ {
    const found = this.operations.get(name)?.responses?.[status];
    assert.ok(found !== undefined, `${name} answered with ${status}, which is not documented`);
    return this.resolve<Response_>(found);
  }

  /** Asserts that `value` matches the schema at this place of the document. */
  validate(pointer: string, value: unknown, what: string): void {
    let validate = this.#compiled.get(pointer);
    if (validate === undefined) {
      validate = this.#ajv.compile({ $ref: `document#${pointer}` });
      this.#compiled.set(pointer, validate);
    }
    if (validate(value)) return;
    const errors = validate.errors!.map(({ instancePath, message, params }) =>
      `${instancePath || "/"} ${message} ${JSON.stringify(params)}`
    );
    assert.fail(
      `${what}: ${errors.slice(0, 5).join("; ")} in ${JSON.stringify(value).slice(0, 600)}`,
    );
  }

  /** Asserts that a response matches its operation in the document: status, headers, type and body. */
  judge(name: string, { status, headers, body }: Answer): void {
    const response = this.response(name, status);
    const what = `${name} ${status}`;
    this.#judgeHeaders(response, headers, what);
    const type = headers.get("content-type")?.split(";")[0] ?? null;
    if (response.content === undefined) {
      assert.equal(body.length, 0, `${what} has a body, which is not documented`);
      return;
    }
    assert.ok(type !== null && type in response.content, `${what} came as ${type}`);
    // A range of a JSON text is not valid JSON.
    if (!/^application\/(problem\+)?json$/.test(type) || status === 206) return;
    const value = JSON.parse(new TextDecoder().decode(body));
    this.validate(this.#pointerOf(name, status, type), value, what);
    if (type !== "application/problem+json") return;
    assert.equal(value.status, status, what);
    const example = response.content[type].example;
    assert.deepEqual(Object.keys(value).slice(0, 4), Object.keys(example).slice(0, 4), what);
  }

  #judgeHeaders({ headers: documented = {} }: Response_, headers: Headers, what: string): void {
    const byName = new Map(
      Object.entries(documented).map(([name, header]) => [
        name.toLowerCase(),
        { name, header: this.resolve<Header>(header) },
      ]),
    );
    for (const name of headers.keys()) {
      assert.ok(byName.has(name) || OF_HTTP.has(name), `${what}: header ${name} is not documented`);
    }
    for (const [lower, { name, header }] of byName) {
      const text = headers.get(lower);
      if (text === null) {
        assert.ok(header.required === false, `${what}: header ${name} is missing`);
        continue;
      }
      const { type } = header.schema as { type: string };
      const value = type === "integer" ? Number(text) : text;
      this.validate(`/components/headers/${name}/schema`, value, `${what}: header ${name}`);
    }
  }

  /** Returns the place of a body's schema in the document. */
  #pointerOf(name: string, status: number, type: string): string {
    const [method, path] = name.split(" ");
    const given = this.operations.get(name)!.responses![status];
    const base = "$ref" in given
      ? given.$ref.slice(1)
      : `/paths/${escape(path)}/${method}/responses/${status}`;
    return `${base}/content/${escape(type)}/schema`;
  }

  /** Yields all pairs of an operation and a status. */
  *statuses(): Generator<{ name: string; status: number; isCommon: boolean }> {
    for (const [name, { responses = {} }] of this.operations) {
      for (const [status, response] of Object.entries(responses)) {
        yield { name, status: Number(status), isCommon: "$ref" in response };
      }
    }
  }
}

/** Escapes a part of a JSON pointer (RFC 6901) for the fragment of a URI. */
function escape(part: string): string {
  return encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"));
}

function unescape(part: string): string {
  return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Returns a copy of the document in which objects may only have documented members. */
function closed(document: Document): Document {
  const close = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(close);
    if (typeof value !== "object" || value === null) return value;
    const copy: Record<string, unknown> = Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [name, close(inner)]),
    );
    const isLoose = copy.additionalProperties === undefined ||
      JSON.stringify(copy.additionalProperties) === "{}";
    if (copy.type === "object" && copy.properties !== undefined && isLoose) {
      copy.additionalProperties = false;
    }
    return copy;
  };
  return close(document) as Document;
}
