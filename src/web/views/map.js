// The map of the id space: peers, values, the range of this node, clusters of addresses, an earlier time, and lookups.

import { h } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { json } from "../api.js";
import { clock, count, ms, percent, plural, shortId } from "../format.js";
import { useAnswer, useEvery, usePaced, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { isId, randomId } from "../ids.js";
import { clustersOf, peersAt, responsibility, wayOf } from "../map_data.js";
import { layoutPeers, placeOnMap } from "../map_layout.js";
import { Card, choice, Note } from "../parts.js";
import { open } from "../routes.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/peers.ts").Lookup} Lookup */
/** @typedef {import("../../reports/peers.ts").Peer} Peer */
/** @typedef {import("../../reports/values.ts").HeldItems} HeldItems */
/** @typedef {import("../../reports/values.ts").Published} Published */
/** @typedef {import("../map_data.js").PeerEvent} PeerEvent */

/** Half of the drawing's width, in its own units. */
const SIZE = 300;
/** The radius of the outermost ring. Outside of it is room for the ids of targets. */
const SCALE = 280;
const HOUR_MIN = 60;
/** Maximum number of values on the map: more marks could not be told apart. */
const MAX_MARKS = 1_000;
/** Maximum number of events that the node returns at once. */
const MAX_EVENTS = 1_000;
/** How often the map asks again for what changes slowly. */
const REFRESH_MS = 15_000;
/** Maximum number of clusters in the list. */
const MAX_CLUSTERS = 12;
/** The marks of the two lookups. They differ by form too, not only by color. */
const LOOKUPS = /** @type {const} */ (["a", "b"]);

/** @param {{ state: NodeState }} props */
export function MapView({ state }) {
  const [agoText, setAgo] = useParameter("ago", "0");
  const [network, setNetwork] = useParameter("network");
  const [layer, setLayer] = useParameter("values", "all");
  const ago = Math.min(HOUR_MIN, Math.max(0, Math.round(Number(agoText)) || 0));
  const [turn, setTurn] = useState(0);
  useEvery(() => setTurn((n) => n + 1), REFRESH_MS, []);
  const own = state.stats?.node_id ?? "0".repeat(40);
  const version = usePaced(state.versions.peers, 1_000);
  const values = useAnswer(state.isBarred ? null : "values", async (signal) => {
    const [held, published] = await Promise.all([
      /** @type {Promise<HeldItems>} */ (json(`/network/held?limit=${MAX_MARKS}`, { signal })),
      /** @type {Promise<Published>} */ (json(`/network/published?limit=${MAX_MARKS}`, { signal })),
    ]);
    return { held, published };
  }, turn);
  const past = useAnswer(
    state.isBarred || ago === 0 ? null : "past",
    (signal) => /** @type {Promise<{ events: PeerEvent[] }>} */ (
      json(`/network/events?types=peer.*&limit=${MAX_EVENTS}`, { signal })
    ),
    turn,
  );
  const events = past.result?.events ?? [];
  const time = Date.now() - ago * 60_000;
  const peers = useMemo(
    () => ago === 0 ? [...state.peers.values()] : peersAt(state.peers.values(), events, time),
    [version, ago, past.result],
  );
  const k = state.stats?.config?.k_bucket_size ?? 20;
  const range = useMemo(() => responsibility(own, peers, k), [own, peers, k]);
  const clusters = useMemo(() => clustersOf(peers), [peers]);
  const lookups = LOOKUPS.map((name) => useLookup(state, name));
  const isCut = ago > 0 && events.length === MAX_EVENTS &&
    Date.parse(events[events.length - 1].at) > time;
  return h(
    "div",
    { class: "map-view" },
    h(
      Card,
      { title: "Id space", id: "space-title", class: "map-whole" },
      h(Drawing, { own, peers, range, network, values: values.result, layer, lookups }),
      h(
        "label",
        { class: "time-slider" },
        h("span", null, "Time"),
        h("input", {
          type: "range",
          min: -HOUR_MIN,
          max: 0,
          step: 1,
          value: -ago,
          "aria-valuetext": ago === 0 ? "now" : `${plural(ago, "minute")} ago`,
          onInput: (event) => setAgo(`${-Number(event.currentTarget.value)}`),
        }),
        h("output", null, ago === 0 ? "now" : `${clock(time)}, ${ago} min ago`),
      ),
      h(
        "p",
        { class: "muted", role: "status" },
        ago > 0 && state.isBarred
          ? "Enter the API token to see earlier peers."
          : past.busy && past.result === null
          ? "Loading the events of the last hour…"
          : `${plural(peers.length, "peer")}${ago === 0 ? "" : " at that time"}`,
      ),
      past.error !== null && h(Note, { tone: "warn" }, `Earlier peers are unknown. ${past.error}`),
      isCut && h(
        Note,
        { tone: "warn" },
        `The node's events reach back only to ${clock(Date.parse(events[events.length - 1].at))}.`,
      ),
    ),
    h(
      "div",
      { class: "column" },
      h(RangeCard, { range, k, values: values.result, own }),
      h(
        Card,
        {
          title: "Values",
          id: "marks-title",
          actions: choice({
            label: "Values on the map",
            options: [["all", "All"], ["held", "Held"], ["published", "Published"], [
              "none",
              "None",
            ]],
            value: /** @type {string} */ (layer),
            onChoose: setLayer,
          }),
        },
        state.isBarred
          ? h("p", { class: "muted" }, "Enter the API token to see values.")
          : values.error !== null && values.result === null
          ? h(Note, { tone: "warn" }, values.error)
          : values.result === null
          ? h("p", { class: "loading" }, "Loading…")
          : h(ValueKey, { values: values.result }),
      ),
      h(
        Card,
        { title: "Lookups", id: "two-title", note: "Up to two, one above the other" },
        lookups.map((lookup, i) => h(LookupRow, { key: i, lookup, isBarred: state.isBarred })),
        h(Shared, { lookups }),
      ),
      h(
        Card,
        { title: "Address clusters", id: "clusters-title", note: "Networks with several peers" },
        clusters.length === 0
          ? h("p", { class: "muted" }, "Every peer is in a network of its own.")
          : h(
            "ul",
            { class: "cluster-list" },
            clusters.slice(0, MAX_CLUSTERS).map(({ network: name, peers: members }) =>
              h(
                "li",
                { key: name },
                h(
                  "button",
                  {
                    type: "button",
                    "aria-pressed": name === network ? "true" : "false",
                    onClick: () => setNetwork(name === network ? "" : name),
                  },
                  h("code", null, name),
                  h("span", null, plural(members.length, "peer")),
                ),
              )
            ),
            clusters.length > MAX_CLUSTERS &&
              h("li", { class: "muted" }, `and ${count(clusters.length - MAX_CLUSTERS)} more`),
          ),
      ),
    ),
  );
}

/**
 * @typedef {object} MapLookup
 * @property {typeof LOOKUPS[number]} name
 * @property {string} target empty if none is chosen
 * @property {boolean} busy
 * @property {string | null} error
 * @property {Lookup | null} result
 */

/** @param {NodeState} state @param {typeof LOOKUPS[number]} name @returns {MapLookup} */
function useLookup(state, name) {
  const [target] = useParameter(name);
  const id = target.toLowerCase();
  const { busy, error, result } = useAnswer(
    isId(id) && !state.isBarred ? id : null,
    (signal) => /** @type {Promise<Lookup>} */ (json(`/network/find/${id}?trace=1`, { signal })),
  );
  return { name, target: id, busy, error, result };
}

/** @param {{ lookup: MapLookup, isBarred: boolean }} props */
function LookupRow({ lookup: { name, target, busy, error, result }, isBarred }) {
  const [, setTarget] = useParameter(name);
  const [text, setText] = useState(target);
  useEffect(() => setText(target), [target]);
  const typed = text.trim().toLowerCase(), isWrong = typed !== "" && !isId(typed);
  return h(
    "form",
    {
      class: `inline-form way-${name}`,
      onSubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        if (!isWrong) setTarget(typed);
      },
    },
    h(
      "label",
      { class: "field grow" },
      h(
        "span",
        null,
        h("i", { class: `way-mark way-mark-${name}`, "aria-hidden": "true" }),
        ` Lookup ${name.toUpperCase()}`,
      ),
      h("input", {
        class: "mono",
        value: text,
        placeholder: "40 hex digits",
        spellcheck: false,
        autocomplete: "off",
        autocapitalize: "off",
        "aria-invalid": isWrong ? "true" : undefined,
        onInput: (event) => setText(event.currentTarget.value),
      }),
    ),
    h("button", { type: "submit", disabled: isBarred || isWrong }, "Show"),
    h("button", {
      type: "button",
      class: "icon-button",
      "aria-label": `Random target for lookup ${name.toUpperCase()}`,
      title: "Random target",
      disabled: isBarred,
      onClick: () => setTarget(randomId()),
    }, h(Icon, { name: "random" })),
    h(
      "p",
      { class: "muted way-result", role: "status" },
      isWrong
        ? "An id has 40 hex digits."
        : busy
        ? "Looking up…"
        : error !== null
        ? error
        : result === null
        ? ""
        : `${plural(result.queries, "query", "queries")}, ${plural(result.hops, "hop")}, ${
          ms(result.elapsed_ms)
        }`,
    ),
  );
}

/** How much two lookups have in common. @param {{ lookups: readonly MapLookup[] }} props */
function Shared({ lookups: [a, b] }) {
  if (a.result === null || b.result === null) return null;
  const idsOf = (/** @type {Lookup} */ { trace = [] }) =>
    new Set(trace.map(({ node_id }) => node_id));
  const first = idsOf(a.result), both = [...idsOf(b.result)].filter((id) => first.has(id));
  return h("p", null, `Both lookups asked ${plural(both.length, "node")}.`);
}

/** @param {{ range: { bits: number, share: number }, k: number, values: { held: HeldItems, published: Published } | null, own: string }} props */
function RangeCard({ range: { bits, share }, k, own }) {
  return h(
    Card,
    { title: "Ids of this node", id: "range-title" },
    h(
      "p",
      null,
      bits === 0
        ? `This node knows fewer than ${k} nodes, so it is responsible for every id.`
        : `This node is one of the ${k} closest to the ids that begin like its own in ${
          plural(bits, "bit")
        }: ${share > 0.001 ? percent(share) : `1 in ${count(1 / share)}`} of all ids.`,
    ),
    h(
      "p",
      { class: "muted" },
      "They are the shaded part of the map. ",
      h("code", null, shortId(own)),
      " is its id.",
    ),
  );
}

/** @param {{ values: { held: HeldItems, published: Published } }} props */
function ValueKey({ values: { held, published } }) {
  const rest = (/** @type {number} */ shown, /** @type {number} */ total) =>
    shown < total ? `, ${count(shown)} of them on the map` : "";
  return h(
    "ul",
    { class: "mark-key" },
    h(
      "li",
      null,
      h("i", { class: "value-mark held", "aria-hidden": "true" }),
      ` ${plural(held.total, "item")} held for others${rest(held.items.length, held.total)}`,
    ),
    h(
      "li",
      null,
      h("i", { class: "value-mark published", "aria-hidden": "true" }),
      ` ${plural(published.total, "value")} published${
        rest(published.published.length, published.total)
      }`,
    ),
  );
}

/**
 * @param {{
 *   own: string, peers: readonly Peer[], range: { bits: number, share: number }, network: string, layer: string,
 *   values: { held: HeldItems, published: Published } | null, lookups: readonly MapLookup[],
 * }} props
 */
function Drawing({ own, peers, range, network, layer, values, lookups }) {
  const { dots, rings } = useMemo(() => layoutPeers(own, peers), [own, peers]);
  const members = useMemo(
    () =>
      new Set(
        clustersOf(peers).find((each) => each.network === network)?.peers.map(({ node_id }) =>
          node_id
        ),
      ),
    [peers, network],
  );
  const held = layer === "all" || layer === "held" ? values?.held.items ?? [] : [];
  const published = layer === "all" || layer === "published"
    ? values?.published.published ?? []
    : [];
  const at = (/** @type {string} */ id) => {
    const { x, y } = placeOnMap(own, id, rings);
    return { x: SIZE + x * SCALE, y: SIZE + y * SCALE };
  };
  const edge = rings[Math.min(range.bits, rings.length - 1)];
  return h(
    "svg",
    {
      class: "space",
      viewBox: `0 0 ${2 * SIZE} ${2 * SIZE}`,
      role: "img",
      "aria-label": `${plural(peers.length, "peer")}, ${plural(held.length, "held item")} and ${
        plural(published.length, "published value")
      } around this node. Peers near the centre have closer ids.`,
    },
    h("circle", { class: "space-range", cx: SIZE, cy: SIZE, r: edge.radius * SCALE + 5 }),
    rings.map(({ bucket, radius, peers: n }) =>
      h("circle", {
        key: bucket,
        class: `space-ring ${n === 0 ? "empty-ring" : ""}`,
        cx: SIZE,
        cy: SIZE,
        r: radius * SCALE,
      })
    ),
    held.map(({ hash }) => {
      const { x, y } = at(hash);
      return h("path", {
        key: `h${hash}`,
        class: "value-mark held",
        d: `M${x - 3} ${y}h6M${x} ${y - 3}v6`,
      });
    }),
    // The table of peers and the list of values open the same pages by keyboard.
    dots.map(({ peer, x, y }) =>
      h(
        "circle",
        {
          key: peer.node_id,
          class: `space-peer ${peer.health} ${members.has(peer.node_id) ? "in-cluster" : ""} ${
            members.size > 0 && !members.has(peer.node_id) ? "off-cluster" : ""
          }`,
          cx: SIZE + x * SCALE,
          cy: SIZE + y * SCALE,
          r: members.has(peer.node_id) ? 6 : 4.5,
          onClick: () => open(`#/peers/${peer.node_id}`),
        },
        h("title", null, `${shortId(peer.node_id)}, ${peer.address}, ${peer.health}`),
      )
    ),
    published.map(({ hash, key }) => {
      const { x, y } = at(hash);
      return h(
        "path",
        {
          key: `p${hash}`,
          class: "value-mark published",
          d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z`,
          onClick: () => open(`#/values/${hash}`),
        },
        h("title", null, key ?? shortId(hash)),
      );
    }),
    lookups.map(({ name, target, result }) =>
      result !== null && h(Way, { key: name, name, target, result, at, lead: { x: SIZE, y: SIZE } })
    ),
    h("path", { class: "space-self", d: `M${SIZE} ${SIZE - 9}l9 9l-9 9l-9 -9z` }),
  );
}

/**
 * The way of a lookup: from this node over the nodes that brought it closer, to the target.
 *
 * @param {{ name: string, target: string, result: Lookup, at: (id: string) => { x: number, y: number }, lead: { x: number, y: number } }} props
 */
function Way({ name, target, result, at, lead }) {
  const points = wayOf(target, result.trace ?? []).map(at), end = at(target);
  const asked = (result.trace ?? []).flatMap(({ node_id }) =>
    node_id === null ? [] : [at(node_id)]
  );
  const text = (/** @type {{ x: number, y: number }} */ { x, y }) =>
    `${x.toFixed(1)} ${y.toFixed(1)}`;
  return h(
    "g",
    { class: `way way-${name}` },
    asked.map((point, i) =>
      h("circle", {
        key: i,
        class: "way-asked",
        cx: point.x,
        cy: point.y,
        r: name === "a" ? 8 : 11,
      })
    ),
    h("path", { class: "way-line", d: `M${[lead, ...points, end].map(text).join("L")}` }),
    name === "a"
      ? h("path", {
        class: "way-end",
        d: `M${end.x - 6} ${end.y - 6}l12 12M${end.x + 6} ${end.y - 6}l-12 12`,
      })
      : h("path", { class: "way-end", d: `M${end.x - 7} ${end.y + 6}l7 -13l7 13z` }),
  );
}
