// Renders the API's OpenAPI document as an HTML page that loads nothing from other hosts. Without scripts, the page
// lacks only search, copy buttons and the forms that send requests.

import { html } from "hono/html";
import type { HtmlEscapedString } from "hono/utils/html";
import { SAFE_HEADERS } from "../problems.ts";
import { type ExampleRequest, LANGUAGES, requestsOf } from "./examples.ts";
import {
  type Content,
  type Document,
  type NamedOperation,
  type Operation,
  operationsOf,
  type Parameter,
  type Schema,
} from "./document.ts";

/**
 * Content-Security-Policy: allows only our own files, and requests to this API. Scripts can't turn text into markup.
 */
export const DOCS_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; " +
  "font-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

interface Response {
  readonly description: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly content?: Readonly<Record<string, Content>>;
}

interface Header {
  readonly description: string;
  readonly required?: boolean;
  readonly schema: Schema;
}

const TONES: Readonly<Record<string, string>> = {
  get: "accent",
  head: "dim",
  post: "ok",
  put: "warn",
  delete: "bad",
};

/** Renders the documentation page, with examples that send requests to `origin`. */
export async function docsPage(document: Document, origin: string): Promise<string> {
  const page = await new Page(document, origin).render();
  return `<!doctype html>\n${page}`;
}

class Page {
  readonly #document: Document;
  readonly #origin: string;
  readonly #schemas: Readonly<Record<string, Schema>>;
  readonly #operations: readonly NamedOperation[];

  constructor(document: Document, origin: string) {
    this.#document = document;
    this.#origin = origin;
    this.#schemas = (document.components?.schemas ?? {}) as Record<string, Schema>;
    this.#operations = [...operationsOf(document)];
  }

  render(): Html {
    const { title, version, description = "" } = this.#document.info;
    const tags = this.#document.tags ?? [];
    return html`
      <html lang="en">
        <head>
          <meta charset="utf-8">
          <meta name="viewport" content="width=device-width, initial-scale=1">
          <meta name="color-scheme" content="light dark">
          <title>API of ${title}</title>
          <link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
          <link rel="stylesheet" href="/assets/theme.css">
          <link rel="stylesheet" href="/assets/docs.css">
          <script src="/assets/first_paint.js"></script>
          <script type="module" src="/assets/docs.js"></script>
        </head>
        <body>
          <a class="skip" href="#main">To the content</a>
          <header class="top">
            <a class="brand"
              href="/"><img src="/assets/icon.svg" width="26" height="26" alt="Dashboard"><b>${title}</b></a>
            <span class="where">API ${version}</span>
            <search><input id="search" type="search" hidden placeholder="Search" aria-label="Search the reference"
              autocomplete="off" spellcheck="false"></search>
            <label
              class="language"><span>Examples in</span> <select id="language" aria-label="Language of the examples">
              ${LANGUAGES.map(({ id, title }) => html`<option value="${id}">${title}</option>`)}
            </select></label>
            <a class="source" href="/openapi.json">openapi.json</a>
          </header>
          <details class="menu">
            <summary>Contents</summary>
            <nav aria-label="Contents">${this.#contents()}</nav>
          </details>
          <div class="columns">
            <nav class="side" aria-label="Contents">${this.#contents()}</nav>
            <main id="main" tabindex="-1">
      <p id="matches" role="status"></p>
      <section class="intro">
      <h1>REST API</h1>
      ${markdown(description)}
      <p>Every response has <code>X-Content-Type-Options: nosniff</code>,
      <code>Cross-Origin-Resource-Policy: same-origin</code> and a <code>Cache-Control</code>, which is
      <code>no-store</code> except for immutable values.</p>
      <p>If a request needs a token, add the header <code>Authorization: Bearer TOKEN</code> to its example.</p>
      </section>
      ${tags.map((tag) => this.#tag(tag.name, tag.description ?? ""))}
      <section class="part" id="schemas">
      <h2>Schemas</h2>
      ${Object.entries(this.#schemas).filter(([name]) => name !== "Event").map(([name, schema]) =>
        html`<article class="schema" id="schema-${name}"><h3>${name}</h3>${
          this.#schema(schema)
        }</article>`
      )}
      </section>
            </main>
          </div>
        </body>
      </html>
    `;
  }

  #contents(): Html {
    const tags = this.#document.tags ?? [];
    return html`<ul>${
      tags.map(({ name }) =>
        html`<li><a href="#${slug(name)}">${name}</a><ul>${
          this.#of(name).map(({ method, path, operation }) =>
            html`<li><a href="#${operation.operationId}" title="${operation.summary}">${
              badge(method)
            }<span>${breakable(path)}</span></a></li>`
          )
        }${
          name === "Events"
            ? html`<li><a href="#event-types"><span>Types of events</span></a></li>`
            : ""
        }</ul></li>`
      )
    }<li><a href="#schemas">Schemas</a></li></ul>`;
  }

  #of(tag: string) {
    return this.#operations.filter(({ operation }) => operation.tags?.includes(tag));
  }

  #tag(name: string, description: string): Html {
    return html`<section class="part" id="${slug(name)}">
<h2>${name}</h2>
<p class="lead">${description}</p>
${this.#of(name).map((one) => this.#operation(one))}
${name === "Events" ? this.#events() : ""}
</section>`;
  }

  #operation(named: NamedOperation): Html {
    const { method, path, operation } = named;
    const { operationId, summary, description = "", security } = operation;
    const responses = Object.entries(operation.responses ?? {}) as [string, Response][];
    const [status, success] = responses[0];
    // A form can't open a WebSocket.
    const canTry = status !== "101";
    return html`
      <article class="operation" id="${operationId}" ${canTry ? " data-try" : ""}>
        <h3><a href="#${operationId}">${summary}</a></h3>
        <p class="endpoint">${badge(method)} <code>${breakable(path)}</code>${security === undefined
          ? ""
          : html`
            <span class="token">${`token with ${security[0].bearer[0]}, if the node has one`}</span>
          `}</p>
        <div class="sides">
          <div class="said">
      ${markdown(description)}
      ${this.#parameters(operation)}
      ${this.#body(operation)}
      <h4>Responses</h4>
      ${responses.map(([status, response], i) => this.#response(status, response, i === 0))}
          </div>
          <div class="shown">
      ${requestsOf(named).map((request) =>
        html`
          <figure>
            <figcaption>${request.summary ?? "Request"}</figcaption>
            ${this.#codeOf(request)}
          </figure>
        `
      )}
      ${this.#examples(success)}
          </div>
        </div>
      </article>
    `;
  }

  #parameters({ parameters = [] }: Operation): Html | "" {
    if (parameters.length === 0) return "";
    return html`<h4>Parameters</h4>
<ul class="members">${
      (parameters as unknown as Parameter[]).map((parameter) =>
        this.#member(
          parameter.name,
          { ...parameter.schema, description: parameter.description },
          { isRequired: parameter.required === true, place: parameter.in },
        )
      )
    }</ul>`;
  }

  #body({ requestBody }: Operation): Html | "" {
    if (requestBody === undefined) return "";
    const { content } = requestBody as { content: Record<string, Content> };
    return html`<h4>Body</h4>${
      Object.entries(content).map(([type, { schema }]) =>
        html`<div class="content"><p class="media">${type}</p>${
          schema && this.#schema(schema)
        }</div>`
      )
    }`;
  }

  #response(status: string, given: Response, isFirst: boolean): Html {
    const response = this.#resolve<Response>(given);
    const { description, content = {}, headers = {} } = response;
    // Omit the headers that all responses have: the page's introduction lists them.
    const own = Object.entries(headers).filter(([name]) => !(name.toLowerCase() in SAFE_HEADERS));
    const types = Object.entries(content);
    const tone = status < "300" ? "ok" : status < "400" ? "dim" : status < "500" ? "warn" : "bad";
    const summary = html`<b class="status tone-${tone}">${status}</b> <span>${description}</span>`;
    if (own.length === 0 && types.length === 0) return html`<p class="response">${summary}</p>`;
    return html`
      <details class="response" ${isFirst ? " open" : ""}><summary>${summary}</summary>
      ${own.length === 0 ? "" : html`<ul class="members">${
        own.map(([name, header]) => {
          const { description, required = true, schema } = this.#resolve<Header>(header);
          return this.#member(name, { ...schema, description }, {
            isRequired: required,
            place: "header",
          });
        })
      }</ul>`}
      ${types.map(([type, { schema, example }]) =>
        html`<div class="content"><p class="media">${type}</p>${schema && this.#schema(schema)}${
          example === undefined ? "" : code(example)
        }</div>`
      )}
      </details>
    `;
  }

  #codeOf(request: ExampleRequest): Html[] {
    return LANGUAGES.map(({ id, render }) =>
      html`<pre class="line" data-language="${id}" tabindex="0"><code>${
        render(request, this.#origin)
      }</code></pre>`
    );
  }

  #examples({ content = {} }: Response): Html[] {
    return Object.entries(content).flatMap(([type, { examples = {} }]) =>
      Object.values(examples).map(({ summary, value }) =>
        html`<figure><figcaption>${summary} <span class="media">${type}</span></figcaption>
${code(value)}</figure>`
      )
    );
  }

  #events(): Html {
    const types = this.#schemas.Event?.anyOf ?? [];
    return html`<article class="operation" id="event-types">
<h3><a href="#event-types">Types of events</a></h3>
<p>Each message has <code>id</code>, <code>type</code>, <code>at</code> and <code>data</code>. The <code>id</code> rises by
one from event to event. It is null for events from which a client can't resume.</p>
${
      types.map(({ properties = {}, description, examples = [] }) => {
        const type = String(properties.type?.const ?? properties.type?.enum?.[0]);
        const data = properties.data ?? {};
        return html`
          <details class="response" id="event-${slug(type)}">
            <summary><code>${type}</code> <span>${description ?? ""}</span></summary>
            <div class="sides">
              <div class="said">${this.#schema(data)}</div>
              <div class="shown">${examples.map(code)}</div>
            </div>
          </details>
        `;
      })
    }
</article>`;
  }

  #schema(schema: Schema): Html {
    const { $ref, properties, items, anyOf, additionalProperties } = schema;
    if ($ref !== undefined) return html`<p class="type">${this.#type(schema)}</p>`;
    if (properties !== undefined) {
      return html`<ul class="members">${
        Object.entries(properties).map(([name, inner]) =>
          this.#member(name, inner, { isRequired: schema.required?.includes(name) === true })
        )
      }</ul>`;
    }
    const inner = items ??
      (typeof additionalProperties === "object" ? additionalProperties : undefined);
    if (inner?.properties !== undefined) {
      return html`<p class="type">${this.#type(schema)}</p>${this.#schema(inner)}`;
    }
    if (anyOf?.some(({ properties }) => properties !== undefined)) {
      return html`${anyOf.map((one) => html`<div class="variant">${this.#schema(one)}</div>`)}`;
    }
    return html`<p class="type">${this.#type(schema)}</p>`;
  }

  #member(
    name: string,
    schema: Schema,
    { isRequired, place }: { readonly isRequired: boolean; readonly place?: string },
  ): Html {
    const { properties, items, additionalProperties } = schema;
    const map = typeof additionalProperties === "object" ? additionalProperties : undefined;
    const nested = [schema, items, map].find((one) => one?.properties !== undefined);
    return html`<li><p><code class="name">${name}</code> <span class="type">${
      this.#type(schema)
    }</span>${
      place === undefined ? "" : html`
        <span class="place">${place}</span>
      `
    }${
      isRequired ? "" : html`
        <span class="optional">optional</span>
      `
    }</p>${
      schema.description === undefined
        ? ""
        : html`<p class="note">${inline(schema.description)}</p>`
    }${
      nested === undefined || (properties === undefined && nested === schema)
        ? ""
        : this.#schema(nested)
    }</li>`;
  }

  #type(schema: Schema): Html {
    const { $ref, type, items, anyOf, format, pattern, minimum, maximum } = schema;
    if ($ref !== undefined) {
      const name = $ref.split("/").at(-1)!;
      return html`<a href="#${name === "Event" ? "event-types" : `schema-${name}`}">${name}</a>`;
    }
    if (anyOf !== undefined) {
      return html`${anyOf.map((one, i) => html`${i === 0 ? "" : " or "}${this.#type(one)}`)}`;
    }
    if (schema.const !== undefined) return html`<code>${JSON.stringify(schema.const)}</code>`;
    if (schema.enum !== undefined) {
      return html`${
        schema.enum.map((one, i) => html`${i === 0 ? "" : ", "}<code>${String(one)}</code>`)
      }`;
    }
    const types = typeof type === "string" ? [type] : type ?? ["anything"];
    if (types.includes("array") && items !== undefined) return html`array of ${this.#type(items)}`;
    const bounds = boundsOf(minimum, maximum);
    return html`${types.join(" or ")}${format === undefined ? "" : ` (${format})`}${bounds}${
      pattern === undefined ? "" : html`
        <code>${pattern}</code>
      `
    }${schema.default === undefined ? "" : `, ${JSON.stringify(schema.default)} by default`}`;
  }

  #resolve<T>(given: unknown): T {
    if (typeof given !== "object" || given === null || !("$ref" in given)) return given as T;
    const [, , kind, name] = String(given.$ref).split("/");
    const components = this.#document.components as Record<string, Record<string, T>>;
    return components[kind][name];
  }
}

function badge(method: string): Html {
  return html`<span class="method tone-${TONES[method]}">${method.toUpperCase()}</span>`;
}

/** Renders a path so that the browser may break the line after each slash. */
function breakable(path: string): Html {
  return html`${path.split(/(?<=.\/)/).map((part) => html`${part}<wbr>`)}`;
}

function slug(name: string): string {
  return name.toLowerCase().replaceAll(".", "-");
}

function boundsOf(minimum: number | undefined, maximum: number | undefined): string {
  const isOpen = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER - 1;
  if (minimum === undefined) return isOpen ? "" : `, at most ${maximum}`;
  return isOpen ? `, from ${minimum}` : `, ${minimum} to ${maximum}`;
}

/** Renders an example. Highlights JSON, and shows control characters in text as escape sequences. */
function code(value: unknown): Html {
  const text = typeof value === "string"
    // deno-lint-ignore no-control-regex
    ? value.replace(/[\x00-\x08]/g, (c) => `\\x0${c.charCodeAt(0)}`)
    : JSON.stringify(value, null, 2);
  const isJson = typeof value !== "string";
  return html`<pre tabindex="0"><code>${isJson ? colored(text) : text}</code></pre>`;
}

function colored(json: string): Html[] {
  const tokens = json.matchAll(
    /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)|[^"\dtfn-]+|./gs,
  );
  return Array.from(tokens, ([all, string, colon, other]) => {
    if (colon !== undefined) return html`<span class="key">${string}</span>${colon}`;
    if (string !== undefined) return html`<span class="text">${string}</span>`;
    return other === undefined ? html`${all}` : html`<span class="value">${other}</span>`;
  });
}

/** Renders the part of CommonMark that our descriptions use: paragraphs, lists and code. */
function markdown(text: string): Html[] {
  return text.split(/\n{2,}/).map((block) => {
    if (!block.startsWith("- ")) return html`<p>${inline(block)}</p>`;
    const items = block.slice(2).split(/\n- /);
    return html`<ul class="list">${items.map((item) => html`<li>${inline(item)}</li>`)}</ul>`;
  });
}

function inline(text: string): (Html | string)[] {
  return text.split("`").map((part, i) => i % 2 === 0 ? part : html`<code>${part}</code>`);
}
