// The page of a value: its content, how safe it is, and its copies over time.

import { h } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, json } from "../api.js";
import { FetchCard, INCOMPLETE_LINK } from "../fetch_form.js";
import { ago, bytes, count, date, ms, NONE, plural, shortId, until } from "../format.js";
import { useAnswer, useEvery, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { isId } from "../ids.js";
import { lazy } from "../lazy.js";
import { Card, Empty, Facts, FullId, Meter, Note, PeerLink } from "../parts.js";
import { previewOf } from "../preview.js";
import { isSealKey } from "../seal.js";
import { fetchValue, saveAs } from "../transfer.js";
import { STATES } from "./published.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/values.ts").PublishedDetail} PublishedDetail */
/** @typedef {import("../../reports/values.ts").Replicas} Replicas */
/** @typedef {{ value: import("../transfer.js").Fetched, preview: Awaited<ReturnType<typeof previewOf>> }} Shown */

const Chart = lazy(async () => (await import("../chart.js")).Chart);

/** The interval at which the page asks again how safe the value is. */
const REFRESH_MS = 30_000;

/** @param {{ state: NodeState, hash: string, now: number }} props */
export function ValuePage({ state, hash, now }) {
  const [key] = useParameter("key");
  const [seal] = useParameter("seal");
  const [attempt, setAttempt] = useState(0);
  if (!isId(hash)) {
    return h(
      "div",
      { class: "values-view" },
      h(
        "div",
        { class: "column" },
        h(Empty, { icon: "values", title: "A hash has 40 hex digits" }),
      ),
      h("div", { class: "column" }, h(FetchCard, { hash })),
    );
  }
  return h(
    "div",
    { class: "values-view" },
    h(
      "div",
      { class: "column" },
      h(ContentCard, { state, question: { hash, key, seal }, attempt }),
    ),
    h(
      "div",
      { class: "column" },
      h(SafetyCard, { state, hash, itemKey: key, now }),
      h(FetchCard, { hash, onAgain: () => setAttempt(attempt + 1) }),
    ),
  );
}

/**
 * Fetches the value and shows it.
 *
 * @param {{ state: NodeState, question: { hash: string, key: string, seal: string }, attempt: number }} props
 */
function ContentCard({ state, question: { hash, key, seal }, attempt }) {
  const [progress, setProgress] = useState(
    /** @type {{ received: number, total: number | null } | null} */ (null),
  );
  const fetching = useAnswer(
    state.isBarred ? null : JSON.stringify([hash, key, seal, attempt]),
    async (signal) => {
      setProgress(null);
      if (seal !== "" && !isSealKey(seal)) throw new ApiError(INCOMPLETE_LINK, 0, null);
      const value = await fetchValue({
        hash,
        key,
        sealKey: seal === "" ? null : seal,
        signal,
        onReceived: (received, total) => {
          if (!signal.aborted) setProgress({ received, total });
        },
      });
      return { value, preview: await previewOf(value) };
    },
  );
  const { result } = fetching;
  return h(
    Card,
    {
      title: "Content",
      id: "content-title",
      class: "fetch-card",
      actions: fetching.busy &&
        h("button", { type: "button", onClick: fetching.cancel }, "Cancel"),
    },
    state.isBarred && h(Empty, { icon: "key", title: "Enter the API token to fetch values" }),
    fetching.busy && h("p", { class: "loading", role: "status" }, `Fetching ${shortId(hash)}…`),
    fetching.busy && progress !== null && h(
      "div",
      { class: "store-progress" },
      progress.total !== null &&
        h(Meter, { share: progress.received / Math.max(1, progress.total), label: "Fetched" }),
      h(
        "span",
        { class: "muted" },
        `${bytes(progress.received)}${
          progress.total === null ? "" : ` of ${bytes(progress.total)}`
        }`,
      ),
    ),
    h(
      "div",
      { role: "status" },
      fetching.error !== null && h(Note, { tone: "bad" }, fetching.error),
    ),
    result !== null && h(Content, { hash, ...result }),
  );
}

/** @param {{ hash: string } & Shown} props */
function Content({ hash, value, preview }) {
  return h(
    "div",
    { class: "fetched" },
    h(Facts, {
      rows: [
        ["Hash", h(FullId, { id: hash, what: "hash" })],
        [
          "Size",
          `${bytes(value.body.size)}${
            value.body.size >= 1000 ? ` (${count(value.body.size)} bytes)` : ""
          }, in ${ms(value.elapsedMs)}`,
        ],
        ["Type", value.type],
        value.seq === null ? null : ["Version", value.seq],
        value.publicKey === null
          ? null
          : ["Signed by", h(FullId, { id: value.publicKey, what: "public key" })],
      ],
    }),
    value.isSealed &&
      h(Note, { tone: "warn" }, "This value is sealed. Enter its link to see the content."),
    h(
      "button",
      { type: "button", onClick: () => saveAs(value.body, fileName(hash, value.type)) },
      h(Icon, { name: "download" }),
      "Download",
    ),
    preview.picture !== null ? h(Picture, { picture: preview.picture }) : h(
      "pre",
      {
        class: `preview ${preview.isText ? "" : "hex"}`,
        tabIndex: 0,
        "aria-label": "Preview of the value",
      },
      preview.text,
    ),
    preview.isCut && preview.picture === null &&
      h("p", { class: "muted" }, "The preview shows only the beginning."),
  );
}

/** @param {{ picture: ImageBitmap }} props */
function Picture({ picture }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const { width, height } = picture;
  useEffect(() => canvas.current?.getContext("2d")?.drawImage(picture, 0, 0), [picture]);
  return h("canvas", {
    ref: canvas,
    class: "preview-picture",
    width,
    height,
    role: "img",
    "aria-label": `Preview of the value: a picture of ${width} × ${height} pixels`,
  });
}

/**
 * How safe the value is. Only for a value that this node publishes does the node know more than a count can find out.
 *
 * @param {{ state: NodeState, hash: string, itemKey: string, now: number }} props
 */
function SafetyCard({ state, hash, itemKey, now }) {
  const [turn, setTurn] = useState(0);
  useEvery(() => setTurn((n) => n + 1), REFRESH_MS, []);
  /** The value whose copies the user wants to count. */
  const [counted, setCounted] = useState(/** @type {string | null} */ (null));
  const question = state.isBarred ? null : JSON.stringify([hash, itemKey]);
  const counting = useAnswer(
    counted === question ? question : null,
    (signal) => {
      const query = itemKey === "" ? "" : `&key=${encodeURIComponent(itemKey)}`;
      return /** @type {Promise<Replicas>} */ (
        json(`/data/${hash}?replicas=1${query}`, { signal })
      );
    },
  );
  const reading = useAnswer(
    state.isBarred ? null : hash,
    async (signal) => {
      // Ask for the list first: a browser logs an answer with the status 404 as an error.
      const { total } = await json(`/network/published?hash=${hash}`, { signal });
      const value = total === 0 ? null : await json(`/network/published/${hash}`, { signal });
      return { value: /** @type {PublishedDetail | null} */ (value) };
    },
    `${turn} ${state.versions.published} ${counting.result !== null} ${state.phase === "lost"}`,
  );
  const value = reading.result?.value ?? null;
  return h(
    Card,
    { title: "Safety", id: "safety-title", class: "fetch-card" },
    state.isBarred && h(Empty, { icon: "key", title: "Enter the API token to see its copies" }),
    reading.error !== null && h(Note, { tone: "warn" }, reading.error),
    reading.result === null && reading.error === null && !state.isBarred &&
      h("p", { class: "loading" }, "Loading…"),
    reading.result !== null && value === null && h(
      Note,
      { tone: "warn" },
      "This node does not publish this value, so its copies expire unless another node publishes it again.",
    ),
    value !== null && h(Published, { state, value, now }),
    question !== null && counting.result === null && h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "button", disabled: counting.busy, onClick: () => setCounted(question) },
        h(Icon, { name: "peers" }),
        counting.busy ? "Counting…" : "Count copies",
      ),
      h("small", { class: "muted" }, "asks the nodes around the hash, and checks each copy"),
    ),
    h(
      "div",
      { role: "status" },
      counting.error !== null && h(Note, { tone: "bad" }, counting.error),
    ),
    counting.result !== null && h(Copies, { report: counting.result }),
  );
}

/** @param {{ state: NodeState, value: PublishedDetail, now: number }} props */
function Published({ state, value, now }) {
  const { replicas, wanted, history } = value;
  const words = STATES[value.state];
  const isSafe = value.state === "safe" && !value.this_node_only;
  const versions = versionsOf(history);
  return [
    h(
      Note,
      { tone: isSafe ? "ok" : value.state === "ending" ? "bad" : "warn" },
      isSafe
        ? `Safe: ${plural(replicas, "node")} acknowledged the value, and ${wanted} are wanted.`
        : value.this_node_only
        ? "Only this node has the value. If this node is lost, the value is lost."
        : words ?? "",
    ),
    h(Facts, {
      rows: [
        value.key === null ? null : ["Key", h("bdi", null, value.key)],
        ["Kind", value.pinned ? `${value.kind}, pinned` : value.kind],
        value.seq === null ? null : ["Version", `${value.seq}`],
        ["Copies", `${count(replicas)} of ${count(wanted)}`],
        ["First published", date(Date.parse(value.first_at))],
        [
          "Last published",
          value.last_at === null ? "not yet" : h(
            "span",
            { title: date(Date.parse(value.last_at)) },
            ago(Date.parse(value.last_at), now),
          ),
        ],
        value.failures === 0
          ? null
          : ["Failures since", h("b", { class: "tone-bad" }, count(value.failures))],
        [
          "Next publication",
          h(
            "span",
            { title: date(Date.parse(value.next_at)) },
            until(Date.parse(value.next_at), now),
          ),
        ],
        [
          "Lives until",
          value.lives_until === null
            ? "this node leaves: no other node has it"
            : `${date(Date.parse(value.lives_until))} if this node leaves`,
        ],
      ],
    }),
    h("h3", null, "Copies over time"),
    history.length === 0
      ? h("p", { class: "muted" }, "The first publication appears here within ten seconds.")
      : h(CopiesChart, { history, wanted, now }),
    versions.length > 1 && h("h3", null, "Versions"),
    versions.length > 1 && h(
      "ol",
      { class: "closest" },
      versions.slice(-10).reverse().map(({ seq, at }) =>
        h(
          "li",
          { key: seq },
          h("span", null, `Version ${seq}`),
          h("span", { class: "muted" }, `since ${date(Date.parse(at))}`),
        )
      ),
    ),
    h("h3", null, `Holders${value.holders.length === 0 ? "" : `: ${value.holders.length}`}`),
    value.holders.length === 0
      ? h(
        "p",
        { class: "muted" },
        "Not known yet: the node learns them when it publishes the value.",
      )
      : h(Holders, { state, digits: value.holders }),
  ];
}

/** The versions in a value's past, with the time of the first entry of each. @param {PublishedDetail["history"]} history */
export function versionsOf(history) {
  /** @type {{ seq: number, at: string }[]} */
  const versions = [];
  for (const { seq, at } of history) {
    if (seq !== null && versions.at(-1)?.seq !== seq) versions.push({ seq, at });
  }
  return versions;
}

/** @param {{ history: PublishedDetail["history"], wanted: number, now: number }} props */
function CopiesChart({ history, wanted, now }) {
  const times = useMemo(() => history.map(({ at }) => Date.parse(at)), [history]);
  const of = (/** @type {string[]} */ ...kinds) =>
    history.map(({ kind, copies }) => kinds.includes(kind) ? copies : null);
  const counts = of("counted");
  return h(Chart, {
    label: `Copies over time. ${wanted} are wanted`,
    times,
    from: Math.min(times[0], now - 600_000),
    to: Math.max(now, times[times.length - 1]),
    version: `${history.length} ${history[history.length - 1].at}`,
    format: count,
    series: [
      {
        label: "acknowledged",
        color: "series-1",
        values: of("published", "failed"),
        style: "dots",
      },
      ...(counts.some((copies) => copies !== null)
        ? [
          /** @type {const} */ ({
            label: "counted and checked",
            color: "series-2",
            values: counts,
            style: "dots",
          }),
        ]
        : []),
    ],
  });
}

/** @param {{ state: NodeState, digits: readonly string[] }} props */
function Holders({ state, digits }) {
  const peers = new Map([...state.peers.values()].map((peer) => [shortId(peer.node_id), peer]));
  const own = state.stats && shortId(state.stats.node_id);
  return h(
    "ol",
    { class: "closest" },
    digits.map((id) => {
      const peer = peers.get(id);
      return h(
        "li",
        { key: id },
        peer === undefined ? h("span", { class: "id" }, id) : h(PeerLink, { id: peer.node_id }),
        h(
          "span",
          { class: "address" },
          id === own ? "this node" : peer?.address ?? "not a peer of this node",
        ),
        h("span", { class: "num" }, peer?.health ?? ""),
      );
    }),
  );
}

/** @param {{ report: Replicas }} props */
function Copies({ report: { holders, count: found, wanted, parts } }) {
  return h(
    "div",
    { class: "copies" },
    h("h3", null, `${plural(found, "copy", "copies")}, ${wanted} wanted`),
    h(Meter, {
      share: found / Math.max(1, wanted),
      tone: found >= wanted / 2 ? "ok" : "warn",
      label: "Copies",
    }),
    parts !== null &&
      h(
        "p",
        { class: "muted" },
        `Of its ${plural(parts.pieces, "piece")}, ${count(parts.counted)} were counted: ${
          count(parts.lost)
        } lost, ${parts.mean.toFixed(1)} of ${plural(parts.wanted, "copy", "copies")} on average.`,
      ),
    h(
      "ol",
      { class: "closest" },
      holders.map(({ node_id, address, age_s }) =>
        h(
          "li",
          { key: node_id },
          address === null
            ? h("span", { class: "id" }, shortId(node_id))
            : h(PeerLink, { id: node_id }),
          h("span", { class: "address" }, address ?? "this node"),
          h(
            "span",
            { class: "num" },
            age_s === null ? NONE : `put ${ago(Date.now() - age_s * 1000, Date.now())}`,
          ),
        )
      ),
    ),
  );
}

/** @param {string} hash @param {string} type */
function fileName(hash, type) {
  const ending = type.startsWith("application/json")
    ? "json"
    : type.startsWith("text/")
    ? "txt"
    : "bin";
  return `${hash}.${ending}`;
}
