// The files of the dashboard. They are part of the program, and load nothing from other hosts.

import monoFont from "@fontsource/ibm-plex-mono/files/ibm-plex-mono-latin-400-normal.woff2" with {
  type: "bytes",
};
import sansFont from "@fontsource-variable/ibm-plex-sans/files/ibm-plex-sans-latin-wght-normal.woff2" with {
  type: "bytes",
};
import uplotStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import index from "./index.html" with { type: "text" };
import icon from "./icon.svg" with { type: "text" };
import themeStyle from "./theme.css" with { type: "text" };
import shellStyle from "./shell.css" with { type: "text" };
import partsStyle from "./parts.css" with { type: "text" };
import viewsStyle from "./views.css" with { type: "text" };
import docsStyle from "./docs.css" with { type: "text" };
import { digestBase64 } from "../digest.ts";
import { FIRST, IMPORTS, SCRIPTS } from "./scripts.ts";

/** A file of the dashboard. */
export interface PageFile {
  readonly type: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
  /** A hash of the content. It is part of the ETag, so browsers don't reload unchanged files (RFC 9110, section 8.8.3). */
  readonly hash: () => Promise<string>;
  /** Compresses the content. Null for fonts, which are compressed already. */
  readonly gzip: (() => Promise<Uint8Array<ArrayBuffer>>) | null;
}

/** The dashboard has one style sheet, because each file costs a browser a request. */
const STYLES: Readonly<Record<string, string>> = {
  "dashboard.css": [uplotStyle, themeStyle, shellStyle, partsStyle, viewsStyle].join("\n"),
  "theme.css": themeStyle,
  "docs.css": docsStyle,
};

/** The page's import map; empty if the modules import no packages by name. */
const IMPORT_MAP = Object.keys(IMPORTS).length === 0 ? "" : JSON.stringify({ imports: IMPORTS });

/**
 * Returns the content security policy: the page may load only its own files and the API's answers. The import map is
 * the only inline script, allowed by its hash. All Trusted Types policies are forbidden, so scripts can't turn text
 * into markup.
 */
export function pagePolicy(): Promise<string> {
  return policy ??= makePolicy();
}

let policy: Promise<string> | undefined;

async function makePolicy(): Promise<string> {
  const importMap = IMPORT_MAP === ""
    ? ""
    : ` 'sha256-${await digestBase64("SHA-256", IMPORT_MAP)}'`;
  return `default-src 'none'; script-src 'self'${importMap}; ` +
    "style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
}

/** Makes a file of a page. The hash and the compressed content are computed once, when they are needed. */
export function pageFile(type: string, body: PageFile["body"]): PageFile {
  let hash: Promise<string> | undefined, gzip: Promise<Uint8Array<ArrayBuffer>> | undefined;
  return {
    type,
    body,
    hash: () => hash ??= hashOf(body),
    gzip: typeof body === "string" ? () => gzip ??= gzipOf(body) : null,
  };
}

async function gzipOf(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function hashOf(body: PageFile["body"]): Promise<string> {
  return (await digestBase64("SHA-256", body)).slice(0, 22);
}

/** The icon of the tab when the node needs attention: its dots, the peers, are amber. */
function attentionIcon(): string {
  return icon.replace("#3ecf8e", "#f2b544");
}

function* files(): Generator<[path: string, file: PageFile]> {
  // Preload the modules of the first view. Otherwise, the browser would learn of a module's imports only after
  // loading it, and would need several round trips in sequence.
  const modules = FIRST.map((name) => `<link rel="modulepreload" href="/assets/${name}">`);
  const importMap = IMPORT_MAP === "" ? [] : [`<script type="importmap">${IMPORT_MAP}</script>`];
  const html = index.replace(
    "<!-- IMPORT MAP -->",
    () => [...importMap, ...modules].join("\n    "),
  );
  yield ["/", pageFile("text/html; charset=utf-8", html)];
  yield ["/assets/icon.svg", pageFile("image/svg+xml", icon)];
  yield ["/assets/icon_attention.svg", pageFile("image/svg+xml", attentionIcon())];
  yield ["/assets/ibm-plex-sans.woff2", pageFile("font/woff2", sansFont)];
  yield ["/assets/ibm-plex-mono.woff2", pageFile("font/woff2", monoFont)];
  for (const [name, body] of Object.entries(STYLES)) {
    yield [`/assets/${name}`, pageFile("text/css; charset=utf-8", body)];
  }
  for (const [name, body] of Object.entries(SCRIPTS)) {
    // Remove references to the packages' source maps, which are not served.
    const script = body.replace(/^\/\/# sourceMappingURL=.*$/m, "");
    yield [`/assets/${name}`, pageFile("text/javascript; charset=utf-8", script)];
  }
}

/** The files of the page, by URL path. */
export const PAGE_FILES: Readonly<Record<string, PageFile>> = Object.fromEntries(files());
