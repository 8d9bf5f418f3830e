// The dashboard's files as the API serves them: part of the program, nothing from other hosts, nothing built beforehand.

import { createHash } from "node:crypto";
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
import firstPaint from "./first_paint.js" with { type: "text" };
import format from "./format.js" with { type: "text" };
import hooks from "./hooks.js" with { type: "text" };
import icons from "./icons.js" with { type: "text" };
import ids from "./ids.js" with { type: "text" };
import live from "./live.js" with { type: "text" };
import main from "./main.js" with { type: "text" };
import mapLayout from "./map_layout.js" with { type: "text" };
import nodeState from "./node_state.js" with { type: "text" };
import parts from "./parts.js" with { type: "text" };
import peerMap from "./peer_map.js" with { type: "text" };
import reachability from "./reachability.js" with { type: "text" };
import routes from "./routes.js" with { type: "text" };
import session from "./session.js" with { type: "text" };
import table from "./table.js" with { type: "text" };
import transfer from "./transfer.js" with { type: "text" };
import viewEvents from "./views/events.js" with { type: "text" };
import viewLookups from "./views/lookups.js" with { type: "text" };
import viewNode from "./views/node.js" with { type: "text" };
import viewOverview from "./views/overview.js" with { type: "text" };
import viewPeer from "./views/peer.js" with { type: "text" };
import viewPeers from "./views/peers.js" with { type: "text" };
import viewValues from "./views/values.js" with { type: "text" };

/** A file of the page, as it is served. */
export interface PageFile {
  readonly type: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
  /** Names these bytes (RFC 9110, section 8.8.3): a browser that has them need not read them again. */
  readonly etag: string;
}

const STYLES: Readonly<Record<string, string>> = {
  "uplot.css": uplotStyle,
  "theme.css": themeStyle,
  "shell.css": shellStyle,
  "parts.css": partsStyle,
  "views.css": viewsStyle,
  "docs.css": docsStyle,
};

/** Modules as the browser runs them; what they say of types is in their comments. */
const SCRIPTS: Readonly<Record<string, string>> = {
  "api.js": api,
  "app.js": app,
  "appearance.js": appearance,
  "buckets.js": buckets,
  "chart.js": chart,
  "convergence.js": convergence,
  "event_list.js": eventList,
  "event_text.js": eventText,
  "first_paint.js": firstPaint,
  "format.js": format,
  "hooks.js": hooks,
  "icons.js": icons,
  "ids.js": ids,
  "live.js": live,
  "main.js": main,
  "map_layout.js": mapLayout,
  "node_state.js": nodeState,
  "parts.js": parts,
  "peer_map.js": peerMap,
  "reachability.js": reachability,
  "routes.js": routes,
  "session.js": session,
  "table.js": table,
  "transfer.js": transfer,
  "views/events.js": viewEvents,
  "views/lookups.js": viewLookups,
  "views/node.js": viewNode,
  "views/overview.js": viewOverview,
  "views/peer.js": viewPeer,
  "views/peers.js": viewPeers,
  "views/values.js": viewValues,
  "vendor/preact.js": preact,
  "vendor/preact_hooks.js": preactHooks,
  "vendor/uplot.js": uplot,
};

/** Where the browser finds what modules import by name: the same names that the type check knows. */
const IMPORT_MAP = JSON.stringify({
  imports: {
    "preact": "/assets/vendor/preact.js",
    "preact/hooks": "/assets/vendor/preact_hooks.js",
    "uplot": "/assets/vendor/uplot.js",
  },
});

const IMPORT_MAP_DIGEST = createHash("sha256").update(IMPORT_MAP).digest("base64");

/**
 * What the page may load: its own files, and this API's answers. The import map is the one script in the page itself,
 * and is named by its hash. Text never becomes markup: no trusted types policy can be made.
 */
export const PAGE_POLICY = "default-src 'none'; " +
  `script-src 'self' 'sha256-${IMPORT_MAP_DIGEST}'; ` +
  "style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

function file(type: string, body: PageFile["body"]): PageFile {
  const digest = createHash("sha256").update(body).digest("base64url").slice(0, 22);
  return { type, body, etag: `"${digest}"` };
}

function* files(): Generator<[path: string, file: PageFile]> {
  // All modules are named at once: found one by one, they would take a round trip for each step of the way.
  const modules = Object.keys(SCRIPTS).filter((name) => name !== "first_paint.js")
    .map((name) => `<link rel="modulepreload" href="/assets/${name}">`);
  const html = index.replace(
    "<!-- IMPORT MAP -->",
    () => [`<script type="importmap">${IMPORT_MAP}</script>`, ...modules].join("\n    "),
  );
  yield ["/", file("text/html; charset=utf-8", html)];
  yield ["/assets/icon.svg", file("image/svg+xml", icon)];
  yield ["/assets/ibm-plex-sans.woff2", file("font/woff2", sansFont)];
  yield ["/assets/ibm-plex-mono.woff2", file("font/woff2", monoFont)];
  for (const [name, body] of Object.entries(STYLES)) {
    yield [`/assets/${name}`, file("text/css; charset=utf-8", body)];
  }
  for (const [name, body] of Object.entries(SCRIPTS)) {
    // The maps that packages name are not here.
    const script = body.replace(/^\/\/# sourceMappingURL=.*$/m, "");
    yield [`/assets/${name}`, file("text/javascript; charset=utf-8", script)];
  }
}

/** The page's files by path. */
export const PAGE_FILES: Readonly<Record<string, PageFile>> = Object.fromEntries(files());
