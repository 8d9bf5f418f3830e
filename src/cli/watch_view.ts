// The view of `dmnode watch`: keeps the state of the watched node, and draws it for a terminal of any size.

import { NAT_WORDS } from "../runtime/reports/nat_report.ts";
import { describeEvent } from "../web/event_text.js";
import { bytes, count, duration, ms, percent, plural, rate } from "../web/format.js";
import type { NodeEvent } from "./client/event_stream.ts";
import type { Peer } from "../reports/peers.ts";
import type { Stats as FullStats } from "../reports/stats.ts";
import { peerCells } from "./network.ts";
import {
  type Cell,
  type Column,
  ids,
  right,
  shortened,
  tableLines,
  texts,
  widthOf,
} from "./terminal/table.ts";
import { printable, type Style } from "./terminal/terminal.ts";

/** The statistics in a `stats` event. Unlike the API's statistics, they don't contain the configuration. */
type Stats = Omit<FullStats, "config">;

/** The number of samples and events to keep: more than any terminal has columns or rows. */
const MAX_SAMPLES = 400, MAX_EVENTS = 300;

/** The widths of the two columns that show a section's name and its figures. */
const NAME_CELLS = 9, FIGURES_CELLS = 32;

/** The minimum widths of a terminal: to show best and worst peers side by side, and to show peers at all. */
const TWO_COLUMN_CELLS = 132, MIN_PEER_CELLS = 24;

/** The maximum length of each of the two lists of peers: the best and the worst. */
const MAX_PEERS = 8;

/** The number of digits of the node's id that a narrow terminal shows. */
const SHORT_DIGITS = 10;

/** The state of the watched node. */
export class WatchedNode {
  /**
   * The reason why the connection was lost, and the time of the next attempt, in milliseconds since 1970. Undefined
   * while connected.
   */
  lost: { readonly reason: string; readonly retryAt: number } | undefined;
  peers: readonly Peer[] = [];
  stats: Stats | undefined;
  /** Received bytes per second, one sample per second. */
  readonly bytesIn: number[] = [];
  readonly bytesOut: number[] = [];
  /** The duration of each successful lookup, in milliseconds. */
  readonly latencies: number[] = [];
  /** The listed events, oldest first. */
  readonly events: { readonly at: string; readonly type: string; readonly cell: Cell }[] = [];
  lastId: number | undefined;
  readonly #patterns: readonly string[];

  /** `types` selects which events to list, such as `peer.*,lookup`. By default, all are listed. */
  constructor(types = "*") {
    this.#patterns = types.split(",").map((name) => name.trim());
  }

  /** Updates the state from an event. Returns whether the list of peers may have changed. */
  note(event: NodeEvent): boolean {
    const { id, at, type, data } = event;
    if (id !== null) this.lastId = id;
    if (type === "stats") {
      const { traffic } = this.stats = data as unknown as Stats;
      append(this.bytesIn, traffic.in.bytes_per_second, MAX_SAMPLES);
      append(this.bytesOut, traffic.out.bytes_per_second, MAX_SAMPLES);
    }
    if (type === "lookup" && data.success === true) {
      append(this.latencies, Number(data.elapsed_ms), MAX_SAMPLES);
    }
    const isWanted = this.#patterns.some((pattern) =>
      ["*", type].includes(pattern) ||
      (pattern.endsWith(".*") && type.startsWith(pattern.slice(0, -1)))
    );
    const cell = isWanted ? describe(event) : undefined;
    if (cell !== undefined) append(this.events, { at, type, cell }, MAX_EVENTS);
    return type.startsWith("peer.") || type === "hello";
  }
}

function append<T>(list: T[], value: T, limit: number): void {
  list.push(value);
  if (list.length > limit) list.shift();
}

const TONES: Readonly<Partial<Record<ReturnType<typeof describeEvent>["tone"], Style>>> = {
  ok: "green",
  warn: "yellow",
  bad: "red",
  dim: "dim",
};

/** The types of events that never appear in the list of events. */
const UNLISTED = ["stats", "lookup.step", "watch"];

/** Returns the text of an event; undefined if the view does not list the event. */
function describe({ id, type, at, data }: NodeEvent): Cell | undefined {
  if (UNLISTED.includes(type) || data.state === "moving" || data.resumed === true) return undefined;
  const { tone, text, link } = describeEvent({ id, type, at, data });
  const line = printable(link === null ? text : `${link.label} ${text}`);
  const style = TONES[tone];
  return style === undefined ? line : [line, style];
}

/** An event as one line, for terminals that can't redraw; undefined if the view does not list it. */
export function eventLine(event: NodeEvent): string | undefined {
  const cell = describe(event);
  if (cell === undefined) return undefined;
  const text = typeof cell === "string" ? cell : cell[0];
  return `${timeOf(event.at)} ${event.type.padEnd(EVENT_TYPE_CELLS)} ${text}`;
}

/** The state of a node as one line, for terminals that can't redraw. */
export function stateLine(at: string, { readiness, peers, traffic }: Stats): string {
  const rate = ({ bytes_per_second }: Stats["traffic"]["in"]) => `${bytes(bytes_per_second)}/s`;
  const { healthy, degraded, unhealthy } = peers;
  return `${timeOf(at)} ${"node".padEnd(EVENT_TYPE_CELLS)} ` +
    `${readiness.ready ? "ready" : `not ready: ${printable(readiness.reason)}`}; ` +
    `peers ${healthy} healthy, ${degraded} degraded, ${unhealthy} unhealthy; ` +
    `in ${rate(traffic.in)}, out ${rate(traffic.out)}`;
}

function timeOf(at: string): string {
  return new Date(at).toTimeString().slice(0, 8);
}

const BARS = "▁▂▃▄▅▆▇█";

/** Draws one bar for each of the last `width` values. The largest value has a bar of full height. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = width > 0 ? values.slice(-width) : [];
  const top = Math.max(...shown, 0);
  return shown.map((value) => {
    const share = top > 0 && value > 0 ? value / top : 0;
    return BARS[Math.min(BARS.length - 1, Math.floor(share * BARS.length))];
  }).join("");
}

/** The inputs of the view other than the node's state: the terminal, the time and the API's URL. */
interface Canvas {
  readonly columns: number;
  readonly rows: number;
  /** The current time, in milliseconds since 1970. */
  readonly now: number;
  readonly url: string;
  paint(style: Style, text: string): string;
}

/** Returns the lines of the view: as many as the canvas has rows, and none wider than the canvas. */
export function renderWatch(node: WatchedNode, canvas: Canvas): string[] {
  const { columns, rows } = canvas;
  const top = [...header(node, canvas), ...summary(node, canvas)];
  // Three lines are reserved: the help for keys, and a blank line each before peers and events.
  const room = rows - top.length - 3;
  const wanted = Math.min(MAX_PEERS, Math.floor(room / (columns >= TWO_COLUMN_CELLS ? 2 : 4)));
  const hasRoom = wanted > 0 && columns >= MIN_PEER_CELLS;
  const peers = hasRoom ? peerLines(node, canvas, wanted) : [];
  const gap = peers.length > 0 ? [""] : [];
  const eventRoom = room - gap.length - peers.length;
  const events = eventRoom > 0 ? ["", ...eventLines(node, canvas, eventRoom)] : [];
  const body = [...top, ...gap, ...peers, ...events].slice(0, Math.max(0, rows - 1));
  while (body.length < rows - 1) body.push("");
  return [...body, canvas.paint("dim", shortened("q or Ctrl-C ends this", columns))].slice(0, rows);
}

/** Joins as many parts as fit on one line, and if necessary shortens the last part on the line. */
function line(parts: readonly Cell[], { columns, paint }: Canvas, gap = "  "): string {
  let built = "", free = columns;
  for (const part of parts) {
    const [text, style] = typeof part === "string" ? [part, undefined] : part;
    if (text === "") continue;
    const before = built === "" ? "" : gap;
    const room = free - before.length;
    if (room < 1) break;
    const short = shortened(text, room);
    built += before + (style === undefined ? short : paint(style, short));
    free = room - widthOf(short);
  }
  return built;
}

function header({ stats, lost }: WatchedNode, canvas: Canvas): string[] {
  const { columns, now, url } = canvas;
  const trouble = lost === undefined ? [] : [line([[
    `${printable(lost.reason)}; trying again ` +
    (lost.retryAt > now ? `in ${duration((lost.retryAt - now) / 1000)}` : "now"),
    "red",
  ]], canvas)];
  const broken: Cell = [" no connection ", ["bgRed", "white"]];
  if (stats === undefined) {
    const state = lost === undefined ? "" : broken;
    return [line([["dmnode", "bold"], state, `waiting for ${url}`], canvas), ...trouble, ""];
  }
  const { ready, reason } = stats.readiness;
  const id = columns >= 100 ? stats.node_id : shortened(stats.node_id, SHORT_DIGITS + 1);
  const state: Cell = lost !== undefined
    ? broken
    : ready
    ? [" ready ", ["bgGreen", "black"]]
    : [" not ready ", ["bgYellow", "black"]];
  const { external_address: seen, votes, type, reachable } = stats.nat;
  const reach = { true: ", reachable", false: ", not reachable for strangers", null: "" };
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
      seen === null ? "" : `seen as ${seen} by ${plural(votes, "peer")}`,
      `${NAT_WORDS[type]}${reach[`${reachable}`]}`,
    ], canvas),
    trouble[0] ?? line([[printable(reason), ready ? "dim" : "yellow"]], canvas),
    "",
  ];
}

function summary(node: WatchedNode, canvas: Canvas): string[] {
  const { stats } = node;
  if (stats === undefined) return [];
  const { peers: { healthy, degraded, unhealthy }, traffic, lookups, storage } = stats;
  const row = (name: string, figures: string, graph?: Cell) => {
    const wide = Math.min(FIGURES_CELLS, Math.max(0, canvas.columns - NAME_CELLS));
    const shown = graph === undefined ? figures : shortened(figures, wide).padEnd(wide);
    return line([[name.padEnd(NAME_CELLS), "bold"], shown, graph ?? ""], canvas, "");
  };
  const graph = Math.max(0, canvas.columns - NAME_CELLS - FIGURES_CELLS);
  const flow = (name: string, way: "in" | "out", samples: readonly number[]) => {
    const { bytes_per_second, messages_per_second, bytes: total } = traffic[way];
    const now = `${bytes(bytes_per_second)}/s`.padStart(9);
    const packets = `${rate(messages_per_second)}/s`.padStart(8);
    const drawn: Cell = [sparkline(samples, graph), way === "in" ? "green" : "blue"];
    return row(name, `${way.padEnd(4)}${now}${packets}  ${bytes(total)}`, drawn);
  };
  const size = stats.network_size_estimate;
  const { p50, p95 } = lookups.latency_ms;
  const share = lookups.count === 0 ? "" : `, ${percent(lookups.success / lookups.count)} answered`;
  const times = p50 === null || p95 === null ? "no times yet" : `half ${ms(p50)}, 95 % ${ms(p95)}`;
  const hops = lookups.hops_mean === null ? "" : `, ${lookups.hops_mean.toFixed(1)} hops`;
  return [
    line([
      ["Peers".padEnd(NAME_CELLS - 2), "bold"],
      [plural(healthy, "healthy", "healthy"), "green"],
      [plural(degraded, "degraded", "degraded"), degraded > 0 ? "yellow" : "dim"],
      [plural(unhealthy, "unhealthy", "unhealthy"), unhealthy > 0 ? "red" : "dim"],
      `${plural(stats.routing_table_size, "contact")} in ${plural(stats.buckets, "bucket")}`,
      size === null ? "" : `about ${plural(size, "node")} in the network`,
    ], canvas),
    flow("Traffic", "in", node.bytesIn),
    flow("", "out", node.bytesOut),
    row("Lookups", `${count(lookups.count)}${share}${hops}`),
    row("", times, [sparkline(node.latencies, graph), "magenta"]),
    row(
      "Values",
      `${plural(storage.items, "item")} held, ${bytes(storage.bytes)} of ` +
        `${bytes(storage.limit_bytes)}; ${plural(storage.published, "value")} published`,
    ),
  ];
}

const PEER_COLUMNS: readonly Column[] = [ids(""), texts(""), "", right(""), right(""), texts("")];

const HEALTH_ORDER = { healthy: 0, degraded: 1, unhealthy: 2 } as const;

/** Lists the best and the worst peers, at most `limit` of each, side by side if there is room. */
function peerLines({ peers }: WatchedNode, canvas: Canvas, limit: number): string[] {
  const ranked = peers.toSorted((x, y) =>
    HEALTH_ORDER[x.health] - HEALTH_ORDER[y.health] || y.score - x.score
  );
  // Split the peers in half, so that none appears in both lists.
  const half = Math.min(limit, Math.ceil(ranked.length / 2));
  const best = ranked.slice(0, half);
  const worst = ranked.slice(half).slice(-limit).reverse();
  const isWide = canvas.columns >= TWO_COLUMN_CELLS;
  const width = isWide ? Math.floor((canvas.columns - 2) / 2) : canvas.columns;
  const table = (name: string, list: readonly Peer[]) => {
    const lines = tableLines(PEER_COLUMNS, list.map(peerCells), width, canvas.paint);
    // Omit the headings. Also omit the columns that did not fit, which `tableLines` puts below the table.
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

/** Lists the latest events, newest first. */
function eventLines({ events }: WatchedNode, canvas: Canvas, limit: number): string[] {
  const lines = events.slice(-limit).reverse().map(({ at, type, cell }) => {
    return line([[timeOf(at), "dim"], type.padEnd(EVENT_TYPE_CELLS), cell], canvas);
  });
  return [line([["Events", "bold"]], canvas), ...lines];
}
