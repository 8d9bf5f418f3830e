// The commands that look at a node's network: find, ping, peers and stats.

import type { z } from "zod";
import type {
  FindResponse,
  PeerResponse,
  PeersResponse,
  PingResponse,
  StatsResponse,
} from "../api/schemas.ts";
import { Api, type ApiFlags } from "./api_client.ts";
import { UserError } from "./errors.ts";
import { checkId, isWholeId, type Known, wholeId } from "./ids.ts";
import { statsPage } from "./stats_page.ts";
import { type Cell, type Column, printPairs, printTable } from "./table.ts";
import { print, printable, printJson, stdout, type Style } from "./terminal.ts";
import { ago, ahead, counted, milliseconds, shortDuration } from "./units.ts";

type Found = z.output<typeof FindResponse>;
type Pong = z.output<typeof PingResponse>;
type Peers = z.output<typeof PeersResponse>;
type PeerDetail = z.output<typeof PeerResponse>;
export type Stats = z.output<typeof StatsResponse>;

/** How a peer's health is painted; `gone` is of one that has left. */
export const HEALTH_STYLES: Readonly<Record<PeerDetail["health"], Style>> = {
  healthy: "green",
  degraded: "yellow",
  unhealthy: "red",
  gone: "dim",
};

const NODE: Column = { head: "NODE", shrinks: "id" };

/** Prints the nodes closest to an id, and with `trace` every query that it took. */
export async function find(id: string, flags: ApiFlags & { trace?: boolean }): Promise<void> {
  const api = new Api(flags);
  const query = { trace: flags.trace ? 1 : undefined };
  const found = await api.get<Found>(`/network/find/${checkId(id)}`, "nodes", query);
  if (flags.json) return printJson(found);
  if (found.trace !== undefined) {
    printTable(
      [
        { head: "HOP", align: "right" },
        NODE,
        { head: "ADDRESS" },
        { head: "STARTED", align: "right" },
        { head: "TOOK", align: "right" },
        { head: "OUTCOME" },
      ],
      found.trace.map((step) => [
        `${step.hop}`,
        step.node_id ?? "-",
        step.address,
        milliseconds(step.started_ms),
        step.rtt_ms === null ? "-" : milliseconds(step.rtt_ms),
        step.outcome,
      ]),
    );
    print();
  }
  printTable(
    [NODE, { head: "ADDRESS" }, { head: "DISTANCE", align: "right" }],
    found.nodes.map((node) => [node.node_id, node.address, `${node.distance}`]),
  );
  const result = found.found ? "found" : "no node has this very id";
  print(
    `${result}; ${counted(found.hops, "hop")}, ${counted(found.queries, "query", "queries")}, ` +
      milliseconds(found.elapsed_ms),
  );
}

/** Prints the round-trip time of a node, named by its id or its address. */
export async function ping(whom: string, flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  if (/^[\w-]+(\.[\w-]+)+$/.test(whom)) {
    throw new UserError(`${JSON.stringify(whom)} has no port: it takes HOST:PORT`, true);
  }
  const pong = isAddress(whom)
    ? await api.get<Pong>("/network/ping", "rtt_ms", { address: whom })
    : await api.get<Pong>(`/network/ping/${await wholeId(whom, knownPeers(api))}`, "rtt_ms");
  if (flags.json) return printJson(pong);
  const health = stdout.paint(HEALTH_STYLES[pong.health], pong.health);
  const way = pong.via === "direct" ? "" : `, ${pong.via}`;
  print(`${pong.node_id} at ${pong.address}: ${milliseconds(pong.rtt_ms)}, ${health}${way}`);
}

/** Whether it can be no id: the node says whether it is an address. */
function isAddress(text: string): boolean {
  return text.includes(":");
}

export interface PeersFlags extends ApiFlags {
  readonly health?: string;
  readonly sort?: string;
  readonly limit?: number;
}

/** Prints the routing table's contacts, or all that is known of one of them. */
export async function peers(id: string | undefined, flags: PeersFlags): Promise<void> {
  const { health, sort, limit } = flags;
  if (id !== undefined) {
    if ((health ?? sort ?? limit) !== undefined) {
      throw new UserError("--health, --sort and --limit are for the list, not for one peer", true);
    }
    return await peer(id, flags);
  }
  const query = { health, sort, limit };
  const list = await new Api(flags).get<Peers>("/network/peers", "peers", query);
  if (flags.json) return printJson(list);
  const now = Date.now();
  printTable(
    [
      NODE,
      { head: "ADDRESS" },
      { head: "HEALTH" },
      { head: "RTT", align: "right" },
      { head: "SCORE", align: "right" },
      { head: "SEEN", align: "right" },
      { head: "CLIENT", shrinks: "text" },
    ],
    list.peers.map((peer): Cell[] => [
      peer.node_id,
      peer.address,
      [peer.health, HEALTH_STYLES[peer.health]],
      peer.rtt_ms === null ? "-" : milliseconds(peer.rtt_ms),
      peer.score.toFixed(2),
      shortDuration((now - Date.parse(peer.last_seen)) / 1000),
      peer.client === null ? "-" : printable(peer.client),
    ]),
  );
  print(`${list.peers.length} of ${counted(list.routing_table_size, "contact")}`);
}

async function peer(id: string, flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  const whole = isWholeId(id) ? id : await wholeId(id, knownPeers(api));
  const peer = await api.get<PeerDetail>(`/network/peers/${whole}`, "score_parts");
  if (flags.json) return printJson(peer);
  const now = Date.now();
  const time = (text: string | null) => text === null ? "never" : `${text}, ${ago(text, now)}`;
  const parts = Object.entries(peer.score_parts).map(([name, value]) =>
    `${name} ${value.toFixed(2)}`
  );
  const misses = peer.misses === 0 ? "" : `, ${counted(peer.misses, "miss", "misses")} in a row`;
  const variation = peer.rtt_variation_ms === null
    ? ""
    : `, give or take ${milliseconds(peer.rtt_variation_ms)}`;
  printPairs([
    ["node", peer.node_id],
    ["address", peer.address],
    ["client", peer.client === null ? "does not say" : printable(peer.client)],
    ["health", [`${peer.health}${misses}`, HEALTH_STYLES[peer.health]]],
    ["score", `${peer.score.toFixed(2)} = ${parts.join(" × ")}`],
    [
      "round trip",
      peer.rtt_ms === null ? "not measured" : `${milliseconds(peer.rtt_ms)}${variation}`,
    ],
    ["faults", peer.faults.toFixed(2)],
    ["keeps us", peer.keeps_us === null ? "does not say" : peer.keeps_us ? "yes" : "no"],
    ["distance", `${counted(peer.distance, "bit")}, bucket ${peer.bucket ?? "-"}`],
    ["first seen", time(peer.first_seen)],
    ["last seen", time(peer.last_seen)],
    ["last answer", time(peer.last_response)],
    ["last query", time(peer.last_query)],
    ["next check", peer.next_check === null ? "-" : ahead(peer.next_check, now)],
  ]);
  if (peer.history.length === 0) return;
  print();
  printTable(
    [{ head: "TIME" }, { head: "CHANGE" }, { head: "REASON", shrinks: "text" }],
    peer.history.map(({ at, what, reason }) => [
      at,
      what,
      reason === null ? "-" : printable(reason),
    ]),
  );
}

function knownPeers(api: Api): Known {
  return {
    what: "peer's id",
    async *ids() {
      for (const peer of (await api.get<Peers>("/network/peers", "peers")).peers) {
        yield peer.node_id;
      }
    },
  };
}

/** Prints what the node counts. */
export async function stats(flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  const all = await api.get<Stats>("/network/stats", "traffic");
  if (flags.json) return printJson(all);
  statsPage(all, api.url);
}
