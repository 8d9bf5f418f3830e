// Whether somebody attacks the node: the signs, refused packets, the density of ids, and the networks of contacts.

import { h } from "preact";
import { DeniedCard } from "../actions.js";
import { json } from "../api.js";
import { ago, clock, count, percent, plural, rate, shortId } from "../format.js";
import { needsAttention } from "../findings.js";
import { useAnswer, useMedia } from "../hooks.js";
import { Icon } from "../icons.js";
import { Card, Empty, fact, Facts, Listing, Note } from "../parts.js";
import { table } from "../table.js";
import { dropText, isHarmless, signsOf } from "../threats.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/stats.ts").Stats} Stats */
/** @typedef {import("../../reports/threats.ts").Threats} Threats */

/** Networks with a single contact are shown only if fewer than this number have more. */
const MIN_SHOWN = 3;

/** How often the page asks again. */
const ASK_INTERVAL_MS = 15_000;

/** @param {{ state: NodeState, now: number }} props */
export function ThreatsView({ state, now }) {
  const reading = useAnswer(
    state.isBarred ? null : "threats",
    (signal) => /** @type {Promise<Threats>} */ (json("/network/threats", { signal })),
    `${Math.floor(now / ASK_INTERVAL_MS)} ${state.phase === "lost"}`,
  );
  const { result } = reading, { stats } = state;
  return h(
    "div",
    { class: "threats-view" },
    h("a", { class: "back", href: "#/node" }, h(Icon, { name: "back" }), "Node"),
    result !== null && reading.error !== null && h(Note, { tone: "warn" }, reading.error),
    h(Listing, {
      isBarred: state.isBarred,
      what: "the signs of an attack",
      error: reading.error,
      total: result === null || stats === null ? null : 1,
      empty: null,
      draw: () => result && stats && h(Report, { threats: result, stats, state, now }),
    }),
  );
}

/** @param {{ threats: Threats, stats: Stats, state: NodeState, now: number }} props */
function Report({ threats, stats, state, now }) {
  return h(
    "div",
    { class: "values-view" },
    h(
      "div",
      { class: "column" },
      h(Signs, { threats, stats }),
      h(Sources, { refused: threats.refused }),
      h(DeniedCard, { state }),
    ),
    h(
      "div",
      { class: "column" },
      h(Reasons, { refused: threats.refused }),
      h(Values, { values: threats.values, now }),
      h(Networks, { contacts: threats.contacts }),
      h(ApiRefusals, { refusals: threats.api_refusals }),
    ),
  );
}

/** @param {{ threats: Threats, stats: Stats }} props */
function Signs({ threats, stats }) {
  const signs = signsOf(threats, stats), found = signs.filter(needsAttention);
  const title = found.length === 0
    ? "No sign of an attack"
    : plural(found.length, "sign of an attack", "signs of an attack");
  return h(
    "section",
    {
      class: `card reach-case tone-${found.length === 0 ? "ok" : "warn"}`,
      "aria-labelledby": "signs-title",
    },
    h(
      "header",
      { class: "card-head" },
      h("span", { class: "status-light", "aria-hidden": "true" }),
      h("h2", { id: "signs-title", tabIndex: -1 }, title),
    ),
    h(
      "dl",
      { class: "signs" },
      [...found, ...signs.filter((sign) => !needsAttention(sign))].map(
        ({ check, verdict, found, advice }) => {
          const [tone, word] = verdict === "ok"
            ? ["ok", "no sign"]
            : verdict === "unknown"
            ? ["dim", "unknown"]
            : ["warn", "look here"];
          return h(
            "div",
            { key: check },
            h("dt", null, h("b", null, check), h("span", { class: `badge tone-${tone}` }, word)),
            h("dd", null, sentence(found)),
            advice !== null && h("dd", { class: "advice" }, sentence(advice)),
          );
        },
      ),
    ),
  );
}

/** @param {string} text */
function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** @param {{ refused: Threats["refused"] }} props */
function Reasons({ refused: { reasons } }) {
  const isNarrow = useMedia("(max-width: 480px)");
  /** @typedef {typeof reasons[number]} Row */
  /** @type {(key: "per_second" | "recent" | "total", label: string, text: (n: number) => string) => import("../table.js").Column<Row>} */
  const column = (key, label, text) => ({
    key,
    label,
    class: "num",
    first: "descending",
    by: (row) => row[key],
    cell: (row) => text(row[key]),
  });
  return h(
    Card,
    { title: "Refused packets", id: "reasons-title", note: "by reason" },
    reasons.length === 0 ? h(Empty, { icon: "check", title: "None since the start" }) : table({
      caption: "Refused packets by reason",
      class: "wrapped",
      columns: [
        {
          key: "reason",
          label: "Reason",
          by: (/** @type {Row} */ { reason }) => `${isHarmless(reason) ? 1 : 0}${dropText(reason)}`,
          cell: (/** @type {Row} */ { reason }) =>
            h(
              "span",
              { title: reason, class: isHarmless(reason) ? "muted" : "" },
              dropText(reason),
            ),
        },
        column("per_second", "A second", rate),
        column("recent", "Last hour", count),
        column("total", "Since start", count),
      ].filter(({ key }) => !(isNarrow && key === "total")),
      rows: reasons,
      keyOf: ({ reason }) => reason,
      sortedBy: "recent",
      direction: "descending",
      version: reasons.map(({ recent }) => recent).join(),
    }),
  );
}

/** @param {{ refused: Threats["refused"] }} props */
function Sources({ refused: { sources, sources_since } }) {
  /** @typedef {typeof sources[number]} Row */
  const harmful = sources.filter(({ reason }) => !isHarmless(reason));
  const since = Date.parse(sources_since);
  return h(
    Card,
    {
      title: "Networks that send them",
      id: "sources-title",
      note: Number.isNaN(since)
        ? undefined
        : `at least this number since ${clock(since).slice(0, 5)}`,
    },
    harmful.length === 0 ? h(Empty, { icon: "check", title: "No network" }) : table({
      caption: "Refused packets by network",
      class: "wrapped",
      columns: [
        {
          key: "network",
          label: "Network",
          by: ({ network }) => network,
          cell: ({ network }) => h("code", null, network),
        },
        {
          key: "reason",
          label: "Reason",
          by: ({ reason }) => dropText(reason),
          cell: ({ reason }) => dropText(reason),
        },
        {
          key: "packets",
          label: "Packets",
          class: "num",
          first: "descending",
          by: ({ packets }) => packets,
          cell: ({ packets }) => count(packets),
        },
      ],
      rows: harmful,
      keyOf: ({ network, reason }) => `${network} ${reason}`,
      sortedBy: "packets",
      direction: "descending",
    }),
  );
}

/** @param {{ values: Threats["values"], now: number }} props */
function Values({ values: { counted, densest }, now }) {
  /** @typedef {typeof densest[number]} Row */
  return h(
    Card,
    {
      title: "Ids around your values",
      id: "density-title",
      note: counted > densest.length
        ? `the densest of ${plural(counted, "value or piece", "values and pieces")}`
        : undefined,
    },
    densest.length === 0
      ? h(
        Empty,
        { icon: "values", title: "Not counted yet" },
        "The node counts the nodes around a value when it stores or republishes the value.",
      )
      : table({
        caption: "Nodes around values",
        class: "short",
        columns: [
          {
            key: "hash",
            label: "Value",
            by: ({ hash }) => hash,
            cell: ({ hash }) =>
              h("a", { class: "id", href: `#/values/${hash}`, title: hash }, shortId(hash)),
          },
          {
            key: "nodes",
            label: "Nodes",
            class: "num",
            first: "descending",
            by: ({ nodes }) => nodes,
            cell: ({ nodes, crowded }) =>
              h("span", { class: crowded ? "mark-word tone-warn" : "" }, count(nodes)),
          },
          {
            key: "expected",
            label: "Expected",
            class: "num",
            by: ({ expected }) => expected,
            cell: ({ expected }) => expected.toFixed(1),
          },
          {
            key: "at",
            label: "Counted",
            class: "num",
            first: "descending",
            by: ({ at }) => at,
            cell: ({ at }) => ago(Date.parse(at), now),
          },
        ],
        rows: densest,
        keyOf: ({ hash, family }) => `${hash} ${family}`,
        sortedBy: "nodes",
        direction: "descending",
      }),
  );
}

/** @param {{ contacts: Threats["contacts"] }} props */
function Networks({ contacts: { all, networks, largest, widest } }) {
  const share = (/** @type {number} */ n) => `${count(n)} (${percent(n / Math.max(1, all))})`;
  const rows = [...widest, ...largest].filter(({ contacts }, i) => contacts > 1 || i < MIN_SHOWN);
  return h(
    Card,
    {
      title: "Networks of contacts",
      id: "networks-title",
      note: `${plural(all, "contact")} in ${plural(networks, "network")}`,
    },
    rows.length === 0 ? h(Empty, { icon: "peers", title: "No contacts" }) : h(Facts, {
      class: "figures-right",
      rows: rows.map(({ network, contacts, global }) =>
        fact(global ? network : `${network} (private)`, share(contacts))
      ),
    }),
  );
}

/** @param {{ refusals: Threats["api_refusals"] }} props */
function ApiRefusals({ refusals }) {
  const rows = Object.entries(refusals).sort(([, x], [, y]) => y - x);
  return h(
    Card,
    { title: "Requests that the API refused", id: "api-title", note: "since the start" },
    rows.length === 0 ? h(Empty, { icon: "check", title: "None" }) : h(Facts, {
      class: "figures-right",
      rows: rows.map(([reason, n]) => fact(dropText(reason), count(n))),
    }),
  );
}
