// The status page: one page, its style and its script, part of the program. Nothing comes from other hosts.

/** A file of the page, as it is served. */
export interface PageFile {
  readonly type: string;
  readonly body: string;
}

/** What the page may load: its own style and script, and this API's answers. */
export const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>DataMgmt Node</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header>
<h1>DataMgmt Node</h1>
<p id="state" role="status" aria-live="polite">Connecting…</p>
</header>
<main>
<section aria-labelledby="node-title">
<h2 id="node-title">Node</h2>
<dl id="node"></dl>
</section>
<section aria-labelledby="peers-title">
<h2 id="peers-title">Peers</h2>
<p id="no-peers">No peers yet.</p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="peers-title">
<table id="peers" hidden>
<thead><tr><th scope="col">Node</th><th scope="col">Address</th><th scope="col">Health</th><th scope="col">RTT</th><th scope="col">Score</th><th scope="col">Client</th></tr></thead>
<tbody></tbody>
</table>
</div>
</section>
</main>
<noscript><p>This page needs JavaScript. The same figures are at /network/stats and /network/peers.</p></noscript>
</body>
</html>
`;

const CSS = `:root { color-scheme: light dark; --line: #8884; --ok: #16794c; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ok: #5fd39a; --bad: #ff8a80; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; }
#state { margin: .25rem 0 0; }
#state.ready { color: var(--ok); }
#state.failed { color: var(--bad); }
dl { display: grid; gap: .25rem 1rem; grid-template-columns: max-content 1fr; margin: 0; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left; white-space: nowrap; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
`;

const JS = `"use strict";
const EVERY_MS = 2000, PEERS_SHOWN = 100;
const state = document.getElementById("state");
const number = new Intl.NumberFormat("en");

function say(text, kind) {
  if (state.textContent !== text) state.textContent = text;
  state.className = kind;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function showNode(s) {
  const { in: inward, out } = s.traffic;
  const rows = {
    "Id": s.node_id,
    "Version": s.version,
    "Address": s.addresses.join(", "),
    "Seen by others as": s.nat.external_address ?? "not known yet",
    "Up for": duration(s.uptime_s),
    "Peers": s.peers.healthy + " healthy, " + s.peers.degraded + " degraded, " + s.peers.unhealthy + " unhealthy",
    "Values held": number.format(s.storage.items) + " (" + number.format(s.storage.bytes) + " bytes)",
    "Lookups": number.format(s.lookups.count) + ", " + number.format(s.lookups.success) + " answered",
    "Packets a second": inward.messages_per_second.toFixed(1) + " in, " + out.messages_per_second.toFixed(1) + " out",
  };
  document.getElementById("node").replaceChildren(
    ...Object.entries(rows).flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
}

function showPeers({ peers }) {
  const table = document.getElementById("peers");
  table.hidden = peers.length === 0;
  document.getElementById("no-peers").hidden = peers.length > 0;
  table.tBodies[0].replaceChildren(...peers.map((p) => {
    const row = document.createElement("tr");
    const rtt = p.rtt_ms === null ? "–" : p.rtt_ms.toFixed(1) + " ms";
    const cells = [p.node_id.slice(0, 12) + "…", p.address, p.health, rtt, p.score.toFixed(2), p.client ?? "–"];
    row.append(...cells.map((text) => element("td", text)));
    row.firstChild.title = p.node_id;
    return row;
  }));
}

function duration(s) {
  const days = Math.floor(s / 86400), hours = Math.floor(s / 3600) % 24, minutes = Math.floor(s / 60) % 60;
  return days > 0 ? days + " d " + hours + " h" : hours > 0 ? hours + " h " + minutes + " min" : minutes + " min " + Math.floor(s % 60) + " s";
}

async function refresh() {
  try {
    const [stats, peers, ready] = await Promise.all([
      fetch("/network/stats"), fetch("/network/peers?limit=" + PEERS_SHOWN), fetch("/readyz"),
    ]);
    showNode(await stats.json());
    showPeers(await peers.json());
    const { reason, detail } = await ready.json();
    say((ready.ok ? "Ready: " : "Not ready: ") + (reason ?? detail), ready.ok ? "ready" : "failed");
  } catch {
    say("The node does not answer; trying again.", "failed");
  }
  setTimeout(refresh, EVERY_MS);
}

refresh();
`;

/** The page's files by path. */
export const PAGE_FILES: Readonly<Record<string, PageFile>> = {
  "/": { type: "text/html; charset=utf-8", body: HTML },
  "/page.css": { type: "text/css; charset=utf-8", body: CSS },
  "/page.js": { type: "text/javascript; charset=utf-8", body: JS },
};
