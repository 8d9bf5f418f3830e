// What `dmnode watch` shows of a node: what was heard of it, and that as lines for a terminal of any size.

import type { z } from "zod";
import type { EventData, EventType, Peer as PeerSchema } from "../api/schemas.ts";
import { NAT_WORDS } from "../runtime/nat_report.ts";
import type { NodeEvent } from "./event_client.ts";
import { HEALTH_STYLES } from "./network.ts";
import { type Cell, type Column, shortened, tableLines, widthOf } from "./table.ts";
import { printable, type Style } from "./terminal.ts";
import { bytes, count, counted, duration, milliseconds, percent, sparkline } from "./units.ts";

type Stats = EventData<"stats">;
type Peer = z.output<typeof PeerSchema>;

/** Samples that are kept for sparklines: more than any terminal is wide. */
const SAMPLES = 400;

/** Events that are kept: more than any terminal is high. */
const EVENTS = 300;

/** Cells of a section's name, and of its figures. */
const NAME_CELLS = 9, FIGURES_CELLS = 32;

/** Below this the best and the worst peers stand below each other. */
const TWO_COLUMNS = 132;

/** On a terminal narrower than this a peer has no room. */
const PEER_CELLS = 24;

/** Peers of either kind are these many at most. */
const MAX_PEERS = 8;

/** Begins a short id that is told apart by eye. */
const SHORT_DIGITS = 10;

/** How the connection is. */
export type ConnectionState =
  | { readonly state: "open" }
  /** `retryAt`: in milliseconds since 1970. */
  | { readonly state: "lost"; readonly why: string; readonly retryAt: number };

interface Told {
  readonly at: string;
  readonly type: string;
  readonly text: string;
  readonly style: Style | undefined;
}

/** All that is known of the node that is watched. */
export class WatchedNode {
  connection: ConnectionState = { state: "open" };
  peers: readonly Peer[] = [];
  stats: Stats | undefined;
  /** Bytes a second, one of each second. */
  readonly bytesIn: number[] = [];
  readonly bytesOut: number[] = [];
  /** Milliseconds, one of each lookup. */
  readonly latencies: number[] = [];
  /** The newest last. */
  readonly events: Told[] = [];
  /** The number of the last event. */
  lastId: number | undefined;
  readonly #isWanted: (type: string) => boolean;

  /** `types`: of the events that are listed; all where it is undefined. */
  constructor(types?: string) {
    const patterns = types?.split(",").map((name) => name.trim());
    this.#isWanted = (type) =>
      patterns === undefined || patterns.some((pattern) => matches(pattern, type));
  }

  /** Whether an event changed which peers there are. */
  note(event: NodeEvent): boolean {
    if (event.id !== null) this.lastId = event.id;
    if (event.type === "stats") this.#noteStats(event.data as Stats);
    if (event.type === "lookup") {
      const { elapsed_ms, success } = event.data as EventData<"lookup">;
      if (success) keep(this.latencies, elapsed_ms, SAMPLES);
    }
    const told = this.#isWanted(event.type) ? describeEvent(event) : undefined;
    if (told !== undefined) {
      const [text, style] = typeof told === "string" ? [told, undefined] : told;
      keep(this.events, { at: event.at, type: event.type, text: printable(text), style }, EVENTS);
    }
    return event.type.startsWith("peer.") || event.type === "hello";
  }

  #noteStats(stats: Stats): void {
    this.stats = stats;
    keep(this.bytesIn, stats.traffic.in.bytes_per_second, SAMPLES);
    keep(this.bytesOut, stats.traffic.out.bytes_per_second, SAMPLES);
  }
}

function keep<T>(list: T[], value: T, most: number): void {
  list.push(value);
  if (list.length > most) list.shift();
}

function matches(pattern: string, type: string): boolean {
  if (pattern === "*" || pattern === type) return true;
  return pattern.endsWith(".*") && type.startsWith(pattern.slice(0, -1));
}

const shortId = (id: string | null) => id === null ? "?" : shortened(id, SHORT_DIGITS + 1);

/** The words for an event; undefined for one that is shown in other ways. */
function describeEvent({ type, data }: NodeEvent): Cell | undefined {
  // `type` is that of the data: the same schemas have made both.
  const of = <T extends EventType>(_: T) => data as unknown as EventData<T>;
  switch (type) {
    case "hello": {
      const { node_id, missed, resumed } = of("hello");
      if (resumed) return undefined;
      return missed === null || missed === 0
        ? `connected to ${shortId(node_id)}`
        : [`connected to ${shortId(node_id)}; ${counted(missed, "event")} missed`, "yellow"];
    }
    case "peer.join": {
      const { node_id, address } = of("peer.join");
      return [`${shortId(node_id)} at ${address}`, "green"];
    }
    case "peer.leave": {
      const { node_id, address, reason } = of("peer.leave");
      return [`${shortId(node_id)} at ${address}: ${reason}`, "red"];
    }
    case "peer.health": {
      const { node_id, address, from, to, reason } = of("peer.health");
      return [`${shortId(node_id)} at ${address}: ${from} to ${to}: ${reason}`, HEALTH_STYLES[to]];
    }
    case "data.store": {
      const { hash, kind, size, from } = of("data.store");
      return `${shortId(hash)}, ${kind}, ${bytes(size)}, for ${from}`;
    }
    case "data.publish": {
      const { hash, kind, key, size, replicas } = of("data.publish");
      const name = key === null ? "" : ` under ${JSON.stringify(key)}`;
      return `${shortId(hash)}${name}, ${kind}, ${bytes(size)}, on ${counted(replicas, "node")}`;
    }
    case "data.fetch": {
      const { hash, found, size, elapsed_ms } = of("data.fetch");
      const took = `in ${milliseconds(elapsed_ms)}`;
      if (!found) return [`${shortId(hash)} was not found, ${took}`, "yellow"];
      return `${shortId(hash)}, ${size === null ? "" : `${bytes(size)}, `}${took}`;
    }
    case "data.replicate": {
      const { hash, to } = of("data.replicate");
      return `${shortId(hash)} given to ${counted(to.length, "node")}`;
    }
    case "data.expire":
      return shortId(of("data.expire").hash);
    case "data.progress": {
      const { direction, hash, done_bytes, state } = of("data.progress");
      if (state === "moving") return undefined;
      const text = `${direction} of ${shortId(hash)}: ${bytes(done_bytes)}, ${state}`;
      return state === "failed" ? [text, "red"] : text;
    }
    case "lookup": {
      const { target, method, hops, queries, elapsed_ms, success } = of("lookup");
      const text = `${method} ${shortId(target)}: ${counted(hops, "hop")}, ` +
        `${counted(queries, "query", "queries")}, ${milliseconds(elapsed_ms)}`;
      return success ? text : [`${text}, nobody answered`, "yellow"];
    }
    case "id": {
      const { node_id, former, address } = of("id");
      return `this node is ${shortId(node_id)} now, which fits ${address}; it was ${
        shortId(former)
      }`;
    }
    case "bootstrap": {
      const { state, contacts } = of("bootstrap");
      return state === "joined"
        ? [`joined the network: ${counted(contacts, "contact")}`, "green"]
        : ["no bootstrap node answered", "red"];
    }
    case "nat": {
      const { external_address, type: kind } = of("nat");
      return `${NAT_WORDS[kind]}; seen as ${external_address ?? "nothing yet"}`;
    }
    case "ready": {
      const { ready, reason } = of("ready");
      return [reason, ready ? "green" : "red"];
    }
    case "stats":
    case "lookup.step":
    case "watch":
      return undefined;
    default:
      return JSON.stringify(data);
  }
}

/** What the lines are drawn for. */
export interface Canvas {
  readonly columns: number;
  readonly rows: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly url: string;
  paint(style: Style, text: string): string;
}

/** A line as its parts, in the order in which they are left out where there is no room: from the last on. */
type Parts = readonly Cell[];

/** The lines that show the node: as many as the canvas has rows, none wider than it. */
export function renderWatch(node: WatchedNode, canvas: Canvas): string[] {
  const { columns, rows } = canvas;
  const top = [...header(node, canvas), ...summary(node, canvas)];
  // A line for the keys at the end, one between each two parts.
  const left = rows - top.length - 3;
  const wanted = Math.min(MAX_PEERS, Math.floor(left / (columns >= TWO_COLUMNS ? 2 : 4)));
  const hasRoom = wanted > 0 && columns >= PEER_CELLS;
  const peers = hasRoom ? peerLines(node, canvas, wanted) : [];
  const gap = peers.length > 0 ? [""] : [];
  const room = rows - top.length - gap.length - peers.length - 3;
  const events = room > 0 ? ["", ...eventLines(node, canvas, room)] : [];
  const body = [...top, ...gap, ...peers, ...events].slice(0, Math.max(0, rows - 1));
  while (body.length < rows - 1) body.push("");
  return [...body, canvas.paint("dim", shortened("q or Ctrl-C ends this", columns))].slice(0, rows);
}

/** Parts beside each other, as far as they fit. */
function line(parts: Parts, { columns, paint }: Canvas, gap = "  "): string {
  let built = "", left = columns;
  for (const part of parts) {
    const [text, style] = typeof part === "string" ? [part, undefined] : part;
    if (text === "") continue;
    const before = built === "" ? "" : gap;
    const room = left - before.length;
    if (room < 1) break;
    const short = shortened(text, room);
    built += before + (style === undefined ? short : paint(style, short));
    left = room - widthOf(short);
  }
  return built;
}

function header({ stats, connection }: WatchedNode, canvas: Canvas): string[] {
  const { columns, now, url } = canvas;
  const lost = connection.state === "lost";
  const retry = lost && connection.retryAt > now
    ? `in ${duration((connection.retryAt - now) / 1000)}`
    : "now";
  const trouble = lost
    ? line([[`${printable(connection.why)}; trying again ${retry}`, "red"]], canvas)
    : undefined;
  const broken: Cell = [" no connection ", ["bgRed", "white"]];
  if (stats === undefined) {
    const parts: Parts = [["dmnode", "bold"], ...(lost ? [broken] : []), `waiting for ${url}`];
    return [line(parts, canvas), ...(trouble === undefined ? [] : [trouble]), ""];
  }
  const { ready, reason } = stats.readiness;
  const id = columns >= 100 ? stats.node_id : shortened(stats.node_id, SHORT_DIGITS + 1);
  const state: Cell = lost
    ? broken
    : ready
    ? [" ready ", ["bgGreen", "black"]]
    : [" not ready ", ["bgYellow", "black"]];
  const { external_address: seen, votes, type, reachable } = stats.nat;
  const reach = reachable === null ? "" : reachable ? ", reachable" : ", not for strangers";
  return [
    line([
      ["dmnode", "bold"],
      [id, "cyan"],
      state,
      `up ${duration(stats.uptime_s)}`,
      `version ${stats.version}`,
      url,
    ], canvas),
    line([
      `UDP ${stats.addresses.join(", ")}`,
      seen === null ? "" : `seen as ${seen} by ${counted(votes, "peer")}`,
      `${NAT_WORDS[type]}${reach}`,
    ], canvas),
    trouble ?? line([[printable(reason), ready ? "dim" : "yellow"]], canvas),
    "",
  ];
}

function summary(node: WatchedNode, canvas: Canvas): string[] {
  const { stats } = node;
  if (stats === undefined) return [];
  const { peers, traffic, lookups, storage } = stats;
  const row = (name: string, figures: string, rest: Parts) => {
    const wide = Math.min(FIGURES_CELLS, Math.max(0, canvas.columns - NAME_CELLS));
    return line(
      [
        [name.padEnd(NAME_CELLS), "bold"],
        rest.length === 0 ? figures : shortened(figures, wide).padEnd(wide),
        ...rest,
      ],
      canvas,
      "",
    );
  };
  const graph = Math.max(0, canvas.columns - NAME_CELLS - FIGURES_CELLS);
  const flow = (name: string, way: "in" | "out", samples: readonly number[]) => {
    const { bytes_per_second, messages_per_second, bytes: total } = traffic[way];
    const now = `${bytes(bytes_per_second)}/s`.padStart(9);
    const packets = `${count(messages_per_second)}/s`.padStart(7);
    return row(name, `${way.padEnd(4)}${now}${packets}  ${bytes(total)}`, [
      [sparkline(samples, graph), way === "in" ? "green" : "blue"],
    ]);
  };
  const { healthy, degraded, unhealthy } = peers;
  const size = stats.network_size_estimate;
  const { p50, p95 } = lookups.latency_ms;
  const share = lookups.count === 0 ? "" : `, ${percent(lookups.success / lookups.count)} answered`;
  const times = p50 === null || p95 === null
    ? ""
    : `half ${milliseconds(p50)}, 95 % ${milliseconds(p95)}`;
  const hops = lookups.hops_mean === null ? "" : `, ${lookups.hops_mean.toFixed(1)} hops`;
  return [
    line([
      ["Peers".padEnd(NAME_CELLS - 2), "bold"],
      [counted(healthy, "healthy", "healthy"), "green"],
      [counted(degraded, "degraded", "degraded"), degraded > 0 ? "yellow" : "dim"],
      [counted(unhealthy, "unhealthy", "unhealthy"), unhealthy > 0 ? "red" : "dim"],
      `${counted(stats.routing_table_size, "contact")} in ${counted(stats.buckets, "bucket")}`,
      size === null ? "" : `about ${counted(size, "node")} in the network`,
    ], canvas),
    flow("Traffic", "in", node.bytesIn),
    flow("", "out", node.bytesOut),
    row("Lookups", `${count(lookups.count)}${share}${hops}`, []),
    row("", times === "" ? "no times yet" : times, [
      [sparkline(node.latencies, graph), "magenta"],
    ]),
    row(
      "Values",
      `${counted(storage.items, "item")} held, ${bytes(storage.bytes)} of ` +
        `${bytes(storage.limit_bytes)}; ${counted(storage.published, "value")} published`,
      [],
    ),
  ];
}

const PEER_COLUMNS: readonly Column[] = [
  { head: "", shrinks: "id" },
  { head: "", shrinks: "text" },
  { head: "" },
  { head: "", align: "right" },
  { head: "", align: "right" },
  { head: "", shrinks: "text" },
];

const SICKNESS = { healthy: 0, degraded: 1, unhealthy: 2 } as const;

/** The best and the worst peers: so many of each, beside each other where there is room. */
function peerLines({ peers }: WatchedNode, canvas: Canvas, most: number): string[] {
  const ranked = peers.toSorted((x, y) =>
    SICKNESS[x.health] - SICKNESS[y.health] || y.score - x.score
  );
  // None is shown as both.
  const half = Math.min(most, Math.ceil(ranked.length / 2));
  const best = ranked.slice(0, half);
  const worst = ranked.slice(half).slice(-most).reverse();
  const isWide = canvas.columns >= TWO_COLUMNS;
  const width = isWide ? Math.floor((canvas.columns - 2) / 2) : canvas.columns;
  const table = (name: string, list: readonly Peer[]) => {
    const lines = tableLines(
      PEER_COLUMNS,
      list.map((peer): Cell[] => [
        peer.node_id,
        peer.address,
        [peer.health, HEALTH_STYLES[peer.health]],
        peer.rtt_ms === null ? "-" : milliseconds(peer.rtt_ms),
        peer.score.toFixed(2),
        printable(peer.client ?? "-"),
      ]),
      width,
      canvas.paint,
    );
    // Beyond the head, and what a table of its own would show below: there is no room for that.
    return [canvas.paint("bold", shortened(name, width)), ...lines.slice(1, 1 + list.length)];
  };
  if (peers.length === 0) return [canvas.paint("bold", "No peers yet")];
  const left = table("Best peers", best);
  if (worst.length === 0) return left;
  const right = table("Worst peers", worst);
  if (!isWide) return [...left, ...right];
  return left.map((text, i) => {
    const padding = " ".repeat(Math.max(0, width - widthOf(text)));
    return `${text}${padding}  ${right[i] ?? ""}`;
  });
}

const EVENT_TYPE_CELLS = 14;

/** The latest events, the newest first. */
function eventLines({ events }: WatchedNode, canvas: Canvas, most: number): string[] {
  const lines = events.slice(-most).reverse().map(({ at, type, text, style }) => {
    const time = new Date(at).toTimeString().slice(0, 8);
    return line([
      [time, "dim"],
      type.padEnd(EVENT_TYPE_CELLS),
      style === undefined ? text : [text, style],
    ], canvas);
  });
  return [line([["Events", "bold"]], canvas), ...lines];
}
