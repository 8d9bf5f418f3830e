// Swarms: the peers of an info-hash or a service, and what this node announces.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { json, request } from "../api.js";
import { ago, count, date, isolated, ms, plural, shortId, until } from "../format.js";
import { useAction, useAnswer, useMedia } from "../hooks.js";
import { Icon } from "../icons.js";
import { isId } from "../ids.js";
import { AskFirst, Card, Copy, Empty, Facts, Field, FullId, Listing, Note } from "../parts.js";
import { open } from "../routes.js";
import { table } from "../table.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/swarms.ts").SwarmPeers} SwarmPeers */
/** @typedef {import("../../reports/swarms.ts").AnnouncedSwarms} AnnouncedSwarms */
/** @typedef {AnnouncedSwarms["swarms"][number]} AnnouncedSwarm */

/** Maximum bytes of the name of a service. */
const MAX_SERVICE_BYTES = 64;
const MAX_PORT = 65_535;

/** @param {{ state: NodeState, infoHash: string | null, now: number }} props */
export function Swarms({ state, infoHash, now }) {
  return h(
    "div",
    { class: `values-view ${infoHash === null ? "" : "with-answer"}` },
    h(
      "div",
      { class: "column" },
      h(AnnounceCard, null),
      h(AnnouncedCard, { state, now }),
    ),
    h("div", { class: "column asking" }, h(FindCard, { state, swarm: infoHash })),
  );
}

/** The API's path of a swarm that the user named by an info-hash or a service. @param {string} name */
function pathOf(name) {
  return `/network/swarms/${isId(name) ? name : `service:${encodeURIComponent(name)}`}`;
}

/** The swarm that the user typed: info-hashes in lower case, and names as they are. @param {string} text */
function nameOf(text) {
  const trimmed = text.trim(), lower = trimmed.toLowerCase();
  return isId(lower) ? lower : trimmed;
}

/**
 * A field for an info-hash or the name of a service.
 *
 * @param {{ id: string, value: string, onChange: (value: string) => void }} props
 */
function SwarmField({ id, value, onChange }) {
  const size = new TextEncoder().encode(nameOf(value)).length, isLong = size > MAX_SERVICE_BYTES;
  return h(Field, {
    label: "Service or info-hash",
    id,
    value,
    placeholder: "a name, or 40 hex digits",
    autocapitalize: "off",
    error: isLong ? `A name has at most ${MAX_SERVICE_BYTES} bytes. This one has ${size}.` : null,
    onChange,
  });
}

/** @param {string} text */
function isSwarm(text) {
  const size = new TextEncoder().encode(nameOf(text)).length;
  return size > 0 && size <= MAX_SERVICE_BYTES;
}

function AnnounceCard() {
  const [swarm, setSwarm] = useState("");
  const [port, setPort] = useState("");
  const [seed, setSeed] = useState(false);
  const number = port === "" ? undefined : Number(port);
  const isPort = number === undefined ||
    (Number.isInteger(number) && number >= 1 && number <= MAX_PORT);
  const isReady = isSwarm(swarm) && isPort;
  const announcing = useAction(
    async () => /** @type {AnnouncedSwarm} */ (await json(pathOf(nameOf(swarm)), {
      method: "POST",
      body: JSON.stringify({ port: number, seed }),
      headers: { "content-type": "application/json" },
    })),
  );
  const result = announcing.result;
  return h(
    Card,
    { title: "Announce", id: "announce-title", class: "store-card" },
    h(
      "form",
      {
        class: "fetch-form",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (isReady) void announcing.run();
        },
      },
      h(SwarmField, { id: "announce-wrong", value: swarm, onChange: setSwarm }),
      h(Field, {
        label: "Port",
        hint: "without one, the UDP port of this node",
        id: "port",
        value: port,
        inputMode: "numeric",
        placeholder: "for example 6881",
        error: isPort ? null : `A port is a number from 1 to ${count(MAX_PORT)}.`,
        onChange: (text) => setPort(text.trim()),
      }),
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: seed,
          onChange: (event) => setSeed(event.currentTarget.checked),
        }),
        "This host seeds",
      ),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "submit", class: "primary", disabled: announcing.busy || !isReady },
          h(Icon, { name: "upload" }),
          announcing.busy ? "Announcing…" : "Announce",
        ),
      ),
    ),
    h(
      "div",
      { role: "status" },
      announcing.error !== null && h(Note, { tone: "bad" }, announcing.error),
      result !== null && h(
        Note,
        { tone: result.nodes === 0 ? "warn" : "ok" },
        result.nodes === 0
          ? "No node accepted the announcement yet. This node tries again."
          : `Announced to ${plural(result.nodes, "node")}.`,
      ),
    ),
  );
}

/**
 * Finds the peers of the swarm in the page's address.
 *
 * @param {{ state: NodeState, swarm: string | null }} props
 */
function FindCard({ state, swarm: given }) {
  const [swarm, setSwarm] = useState(given ?? "");
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (given !== null) setSwarm(given);
  }, [given]);
  const finding = useAnswer(
    given === null || !isSwarm(given) || state.isBarred ? null : JSON.stringify([given, attempt]),
    (
      signal,
    ) => /** @type {Promise<SwarmPeers>} */ (json(`${pathOf(given ?? "")}?scrape=1`, { signal })),
  );
  const result = finding.result;
  return h(
    Card,
    { title: "Find peers", id: "find-title", class: "fetch-card" },
    h(
      "form",
      {
        class: "fetch-form",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (!isSwarm(swarm)) return;
          if (nameOf(swarm) === given) setAttempt(attempt + 1);
          else open(`#/swarms/${encodeURIComponent(nameOf(swarm))}`);
        },
      },
      h(SwarmField, { id: "find-wrong", value: swarm, onChange: setSwarm }),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "submit", class: "primary", disabled: !isSwarm(swarm) },
          h(Icon, { name: "search" }),
          "Find peers",
        ),
      ),
    ),
    h(
      "div",
      { role: "status" },
      finding.busy && h("p", { class: "loading" }, "Searching…"),
      finding.error !== null && h(Note, { tone: "bad" }, finding.error),
    ),
    result !== null && h(FoundSwarm, { found: result }),
    result === null && !finding.busy && finding.error === null && h(
      Empty,
      {
        icon: state.isBarred ? "key" : "swarms",
        title: state.isBarred ? "Enter the API token to find peers" : "No peers searched yet",
      },
      "The node asks the nodes closest to the info-hash for the peers that were announced there.",
    ),
  );
}

/** @param {{ found: SwarmPeers }} props */
function FoundSwarm({ found: { info_hash, peers, ipv4, ipv6, scrape, nodes, elapsed_ms } }) {
  return h(
    "div",
    { class: "fetched" },
    h(Facts, {
      rows: [
        ["Info-hash", h(FullId, { id: info_hash, what: "info-hash" })],
        ["Peers", `${count(peers.length)}: ${count(ipv4)} IPv4, ${count(ipv6)} IPv6`],
        scrape === null ? null : [
          "Size",
          `about ${plural(scrape.seeds, "seed")} and ${plural(scrape.peers, "other peer")}`,
        ],
        ["Asked", `${plural(nodes, "node")} answered in ${ms(elapsed_ms)}`],
      ],
    }),
    peers.length > 0 && h(
      "ul",
      { class: "swarm-peers", "aria-label": "Peers of the swarm", tabIndex: 0 },
      peers.map((peer) =>
        h(
          "li",
          { key: peer },
          h("code", null, peer),
          h(Copy, {
            text: peer,
            what: `address ${peer}`,
          }),
        )
      ),
    ),
  );
}

/** @param {{ state: NodeState, now: number }} props */
function AnnouncedCard({ state, now }) {
  const [announcement, setAnnouncement] = useState("");
  const isNarrow = useMedia("(max-width: 760px)");
  const isAway = state.phase === "lost";
  const [changes, setChanges] = useState(0);
  const reading = useAnswer(
    state.isBarred ? null : "swarms",
    (signal) => /** @type {Promise<AnnouncedSwarms>} */ (json("/network/swarms", { signal })),
    `${changes} ${state.versions.swarms} ${state.stats?.swarms.announced} ${isAway}`,
  );
  const list = reading.result;
  const withdraw = useAction(async (/** @type {AnnouncedSwarm} */ { info_hash, service }) => {
    await request(pathOf(info_hash), { method: "DELETE" });
    document.getElementById("announced-title")?.focus();
    setAnnouncement(`Withdrew ${service ?? shortId(info_hash)}.`);
    setChanges((n) => n + 1);
  });
  /** @type {import("../table.js").Column<AnnouncedSwarm>[]} */
  const columns = [
    {
      key: "swarm",
      label: "Swarm",
      by: (row) => row.service ?? row.info_hash,
      cell: (row) =>
        h(
          "span",
          { class: "two-lines" },
          h(
            "a",
            { class: "id", href: `#/swarms/${row.info_hash}`, title: row.info_hash },
            shortId(row.info_hash),
          ),
          h("small", null, `${isolated(row.service ?? "info-hash")}${row.seed ? ", seed" : ""}`),
        ),
    },
    {
      key: "port",
      label: "Port",
      class: "num",
      by: (row) => row.port,
      cell: (row) => row.port === null ? "UDP" : `${row.port}`,
    },
    {
      key: "nodes",
      label: "Nodes",
      class: "num",
      by: (row) => row.nodes,
      cell: (row) =>
        h(
          "span",
          { class: row.failures > 0 ? "tone-bad mark-word" : "" },
          row.failures > 0 ? plural(row.failures, "failure") : count(row.nodes),
        ),
    },
    {
      key: "last",
      label: "Announced",
      class: "num wide",
      first: "descending",
      by: (row) => row.last_at === null ? null : Date.parse(row.last_at),
      cell: (row) =>
        row.last_at === null
          ? "not yet"
          : h("span", { title: date(Date.parse(row.last_at)) }, ago(Date.parse(row.last_at), now)),
    },
    {
      key: "next",
      label: "Next",
      class: "num wide",
      by: (row) => Date.parse(row.next_at),
      cell: (row) => until(Date.parse(row.next_at), now),
    },
    {
      key: "withdraw",
      label: "Stop",
      cell: (row) =>
        h(AskFirst, {
          action: "Withdraw",
          name: row.service ?? shortId(row.info_hash),
          onConfirm: () => withdraw.run(row),
        }),
    },
  ];
  return h(
    Card,
    {
      title: "Announced by this node",
      id: "announced-title",
      class: "published-card",
      note: list === null || list.total === 0
        ? undefined
        : `${plural(list.total, "swarm")}, announced again every 15 to 25 minutes`,
    },
    h("p", { class: "visually-hidden", role: "status" }, announcement),
    withdraw.error !== null && h(Note, { tone: "bad" }, withdraw.error),
    h(Listing, {
      isBarred: state.isBarred,
      what: "announcements",
      error: reading.error,
      total: list && list.total,
      empty: h(
        Empty,
        { icon: "swarms", title: "No announcements" },
        "This node keeps this host announced in every swarm that you announce here, until you stop it.",
      ),
      draw: () =>
        list && table({
          caption: "Swarms in which this node announces its host",
          columns: isNarrow
            ? columns.filter(({ key }) => ["swarm", "port", "nodes", "withdraw"].includes(key))
            : columns,
          rows: list.swarms,
          keyOf: (row) => row.info_hash,
          sortedBy: "next",
          rowHeight: 53,
          version: list,
        }),
    }),
  );
}
