// The files of the dashboard. They are part of the program, need no build step, and load nothing from other hosts.

import monoFont from "@fontsource/ibm-plex-mono/files/ibm-plex-mono-latin-400-normal.woff2" with {
  type: "bytes",
};
import sansFont from "@fontsource-variable/ibm-plex-sans/files/ibm-plex-sans-latin-wght-normal.woff2" with {
  type: "bytes",
};
import preact from "preact" with { type: "text" };
import preactHooks from "preact/hooks" with { type: "text" };
import uplot from "uplot/dist/uPlot.esm.js" with { type: "text" };
import uplotStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import index from "./index.html" with { type: "text" };
import icon from "./icon.svg" with { type: "text" };
import themeStyle from "./theme.css" with { type: "text" };
import shellStyle from "./shell.css" with { type: "text" };
import partsStyle from "./parts.css" with { type: "text" };
import viewsStyle from "./views.css" with { type: "text" };
import docsStyle from "./docs.css" with { type: "text" };
import api from "./api.js" with { type: "text" };
import app from "./app.js" with { type: "text" };
import appearance from "./appearance.js" with { type: "text" };
import buckets from "./buckets.js" with { type: "text" };
import chart from "./chart.js" with { type: "text" };
import convergence from "./convergence.js" with { type: "text" };
import eventList from "./event_list.js" with { type: "text" };
import eventText from "./event_text.js" with { type: "text" };
import findings from "./findings.js" with { type: "text" };
import firstPaint from "./first_paint.js" with { type: "text" };
import format from "./format.js" with { type: "text" };
import hooks from "./hooks.js" with { type: "text" };
import icons from "./icons.js" with { type: "text" };
import ids from "./ids.js" with { type: "text" };
import json from "./json.js" with { type: "text" };
import live from "./live.js" with { type: "text" };
import main from "./main.js" with { type: "text" };
import mapLayout from "./map_layout.js" with { type: "text" };
import mediaType from "./media_type.js" with { type: "text" };
import nodeState from "./node_state.js" with { type: "text" };
import parts from "./parts.js" with { type: "text" };
import peerMap from "./peer_map.js" with { type: "text" };
import reachability from "./reachability.js" with { type: "text" };
import routes from "./routes.js" with { type: "text" };
import seal from "./seal.js" with { type: "text" };
import session from "./session.js" with { type: "text" };
import table from "./table.js" with { type: "text" };
import transfer from "./transfer.js" with { type: "text" };
import viewEvents from "./views/events.js" with { type: "text" };
import viewLookups from "./views/lookups.js" with { type: "text" };
import viewNode from "./views/node.js" with { type: "text" };
import viewOverview from "./views/overview.js" with { type: "text" };
import viewPeer from "./views/peer.js" with { type: "text" };
import viewPeers from "./views/peers.js" with { type: "text" };
import viewSwarms from "./views/swarms.js" with { type: "text" };
import viewValues from "./views/values.js" with { type: "text" };
import { digestBase64 } from "../digest.ts";

/** A file of the dashboard. */
export interface PageFile {
  readonly type: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
  /** The ETag: it changes with the content (RFC 9110, section 8.8.3), so browsers don't reload unchanged files. */
  etag(): Promise<string>;
}

const STYLES: Readonly<Record<string, string>> = {
  "uplot.css": uplotStyle,
  "theme.css": themeStyle,
  "shell.css": shellStyle,
  "parts.css": partsStyle,
  "views.css": viewsStyle,
  "docs.css": docsStyle,
};

/** The JavaScript modules that the browser runs. Their types are declared in JSDoc comments. */
const SCRIPTS: Readonly<Record<string, string>> = {
  "api.js": api,
  "app.js": app,
  "appearance.js": appearance,
  "buckets.js": buckets,
  "chart.js": chart,
  "convergence.js": convergence,
  "event_list.js": eventList,
  "event_text.js": eventText,
  "findings.js": findings,
  "first_paint.js": firstPaint,
  "format.js": format,
  "hooks.js": hooks,
  "icons.js": icons,
  "ids.js": ids,
  "json.js": json,
  "live.js": live,
  "main.js": main,
  "map_layout.js": mapLayout,
  "media_type.js": mediaType,
  "node_state.js": nodeState,
  "parts.js": parts,
  "peer_map.js": peerMap,
  "reachability.js": reachability,
  "routes.js": routes,
  "seal.js": seal,
  "session.js": session,
  "table.js": table,
  "transfer.js": transfer,
  "views/events.js": viewEvents,
  "views/lookups.js": viewLookups,
  "views/node.js": viewNode,
  "views/overview.js": viewOverview,
  "views/peer.js": viewPeer,
  "views/peers.js": viewPeers,
  "views/swarms.js": viewSwarms,
  "views/values.js": viewValues,
  "vendor/preact.js": preact,
  "vendor/preact_hooks.js": preactHooks,
  "vendor/uplot.js": uplot,
};

/** Maps the names of packages that the modules import to URLs. The type checker uses the same names. */
const IMPORT_MAP = JSON.stringify({
  imports: {
    "preact": "/assets/vendor/preact.js",
    "preact/hooks": "/assets/vendor/preact_hooks.js",
    "uplot": "/assets/vendor/uplot.js",
  },
});

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
  return "default-src 'none'; " +
    `script-src 'self' 'sha256-${await digestBase64("SHA-256", IMPORT_MAP)}'; ` +
    "style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
}

function file(type: string, body: PageFile["body"]): PageFile {
  let etag: Promise<string> | undefined;
  return { type, body, etag: () => etag ??= etagOf(body) };
}

async function etagOf(body: PageFile["body"]): Promise<string> {
  return `"${(await digestBase64("SHA-256", body)).slice(0, 22)}"`;
}

/** The icon with amber peers, for a tab whose node needs attention. */
function attentionIcon(): string {
  return icon.replace("#3ecf8e", "#f2b544");
}

function* files(): Generator<[path: string, file: PageFile]> {
  // Preload all modules. Otherwise, the browser would learn of a module's imports only after
  // loading it, and would need several round trips in sequence.
  const modules = Object.keys(SCRIPTS).filter((name) => name !== "first_paint.js")
    .map((name) => `<link rel="modulepreload" href="/assets/${name}">`);
  const html = index.replace(
    "<!-- IMPORT MAP -->",
    () => [`<script type="importmap">${IMPORT_MAP}</script>`, ...modules].join("\n    "),
  );
  yield ["/", file("text/html; charset=utf-8", html)];
  yield ["/assets/icon.svg", file("image/svg+xml", icon)];
  yield ["/assets/icon_attention.svg", file("image/svg+xml", attentionIcon())];
  yield ["/assets/ibm-plex-sans.woff2", file("font/woff2", sansFont)];
  yield ["/assets/ibm-plex-mono.woff2", file("font/woff2", monoFont)];
  for (const [name, body] of Object.entries(STYLES)) {
    yield [`/assets/${name}`, file("text/css; charset=utf-8", body)];
  }
  for (const [name, body] of Object.entries(SCRIPTS)) {
    // Remove references to the packages' source maps, which are not served.
    const script = body.replace(/^\/\/# sourceMappingURL=.*$/m, "");
    yield [`/assets/${name}`, file("text/javascript; charset=utf-8", script)];
  }
}

/** The files of the page, by URL path. */
export const PAGE_FILES: Readonly<Record<string, PageFile>> = Object.fromEntries(files());
