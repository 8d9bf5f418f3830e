// The commands that inspect the network of a running node: find, ping, connect, peers and diagnostics.

import { ago, ms, plural, shortDuration, until } from "../web/format.js";
import { Api, type ApiFlags, Refused } from "./client/api_client.ts";
import { checkId, isWholeId, wholeId } from "./client/ids.ts";
import type { Diagnostics } from "../reports/diagnostics.ts";
import type { Lookup, Peer, PeerDetail, Peers, Ping } from "../reports/peers.ts";
import { jsonText } from "../web/json.js";
import { reason, UserError } from "./terminal/errors.ts";
import { type Cell, ids, printPairs, printTable, right, texts } from "./terminal/table.ts";
import { print, printable, printJson, stderr, stdout, type Style } from "./terminal/terminal.ts";

const rttText = (rtt: number | null) => rtt === null ? "-" : ms(rtt);

const HEALTH_STYLES: Readonly<Record<PeerDetail["health"], Style>> = {
  healthy: "green",
  degraded: "yellow",
  unhealthy: "red",
  gone: "dim",
};

const NODE = ids("NODE");

/** Prints the nodes closest to an id. With `trace`, also prints every query of the lookup. */
export async function find(id: string, flags: ApiFlags & { trace?: boolean }): Promise<void> {
  const api = new Api(flags);
  const path = `/network/find/${checkId(id)}`;
  const found = await api.get<Lookup>(path, "nodes", { trace: flags.trace ? 1 : undefined });
  if (flags.json) return printJson(found);
  if (found.trace !== undefined) printTrace(found.trace);
  if (found.nodes.length === 0) return sayAlone();
  printTable(
    [NODE, "ADDRESS", right("DISTANCE")],
    found.nodes.map((node) => [node.node_id, node.address, `${node.distance}`]),
  );
  const result = found.found ? "found" : "no node has exactly this id";
  print(
    `${result}; ${plural(found.hops, "hop")}, ${plural(found.queries, "query", "queries")}, ` +
      ms(found.elapsed_ms),
  );
}

/** The text that explains why a node knows no other node, and what to do. */
const ALONE =
  "this node has no peers: join a network with dmnode connect HOST:PORT, or --bootstrap HOST:PORT " +
  "at its start";

/** Says that the node has no peers, and how it gets some. The command has done its work, so its status remains 0. */
export function sayAlone(): void {
  stderr.write(`dmnode: ${ALONE}\n`);
}

function printTrace(steps: NonNullable<Lookup["trace"]>): void {
  printTable(
    [right("HOP"), NODE, "ADDRESS", right("STARTED"), right("TOOK"), "OUTCOME"],
    steps.map((step) => [
      `${step.hop}`,
      step.node_id ?? "-",
      step.address,
      ms(step.started_ms),
      rttText(step.rtt_ms),
      step.outcome,
    ]),
  );
  print();
}

/** Pings a node by its id or its address, and prints the round-trip time. */
export async function ping(node: string, flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  if (/^[\w-]+(\.[\w-]+)+$/.test(node)) {
    throw new UserError(`${JSON.stringify(node)} has no port: give HOST:PORT`, true);
  }
  // Text with a colon can't be an id. The node checks whether it is an address.
  const pong = node.includes(":")
    ? await api.get<Ping>("/network/ping", "rtt_ms", { address: node })
    : await pingId(api, await peerId(api, node));
  if (flags.json) return printJson(pong);
  const health = stdout.paint(HEALTH_STYLES[pong.health], pong.health);
  const via = pong.via === "direct" ? "" : `, ${pong.via}`;
  print(`${pong.node_id} at ${pong.address}: ${ms(pong.rtt_ms)}, ${health}${via}`);
}

/** Pings the node with this id. If the node is not found and there are no peers to ask, the error says so. */
async function pingId(api: Api, id: string): Promise<Ping> {
  try {
    return await api.get<Ping>(`/network/ping/${id}`, "rtt_ms");
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    const { routing_table_size } = await api.get<Peers>("/network/peers", "peers", { limit: 1 });
    if (routing_table_size > 0) throw error;
    throw new UserError(`no node ${id} was found, because ${ALONE}`, false, { cause: error });
  }
}

/** Joins through the node at an address, and prints the node. */
export async function connect(address: string, flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  const url = api.at("/network/peers", { address });
  const peer = await api.request(
    url,
    { method: "POST" },
    (response) => api.json<Ping>(response, "rtt_ms"),
  );
  if (flags.json) return printJson(peer);
  print(`joined through ${peer.node_id} at ${peer.address}: ${ms(peer.rtt_ms)}`);
}

/** Saves the report of a running node in a file that only its owner can read. */
export async function diagnostics(
  file: string,
  { force = false, ...flags }: ApiFlags & { readonly force?: boolean },
): Promise<void> {
  const report = await new Api(flags).get<Diagnostics>("/network/diagnostics", "findings");
  if (file === "-") return printJson(report);
  const options = { createNew: !force, mode: 0o600 };
  try {
    Deno.writeTextFileSync(file, `${jsonText(report, 2)}\n`, options);
  } catch (error) {
    const advice = error instanceof Deno.errors.AlreadyExists
      ? "it exists: give another name, or --force to replace it"
      : reason(error);
    throw new UserError(`${file} can't be written: ${advice}`);
  }
  if (flags.json) return printJson({ file });
  print(`${file}: read it before you give it to others, because it has addresses of your peers`);
}

/** Prints the contacts in the routing table, or all details of one contact. */
export async function peers(
  id: string | undefined,
  flags: ApiFlags & { health?: string; sort?: string; limit?: number },
): Promise<void> {
  const { health, sort, limit } = flags;
  if (id !== undefined) {
    if ((health ?? sort ?? limit) === undefined) return await peer(id, flags);
    throw new UserError("--health, --sort and --limit apply to the list, not to one peer", true);
  }
  const list = await new Api(flags).get<Peers>("/network/peers", "peers", { health, sort, limit });
  if (flags.json) return printJson(list);
  if (list.routing_table_size === 0) return sayAlone();
  const now = Date.now();
  printTable(
    [NODE, "ADDRESS", "HEALTH", right("RTT"), right("SCORE"), right("SEEN"), texts("CLIENT")],
    list.peers.map((peer) => {
      const seen = shortDuration((now - Date.parse(peer.last_seen)) / 1000);
      return peerCells(peer).toSpliced(-1, 0, seen);
    }),
  );
  print(`${list.peers.length} of ${plural(list.routing_table_size, "contact")}`);
}

/** Returns the table cells that describe a peer: id, address, health, round-trip time, score and client. */
export function peerCells({ node_id, address, health, rtt_ms, score, client }: Peer): Cell[] {
  return [
    node_id,
    address,
    [health, HEALTH_STYLES[health]],
    rttText(rtt_ms),
    score.toFixed(2),
    printable(client ?? "-"),
  ];
}

async function peer(id: string, flags: ApiFlags): Promise<void> {
  const api = new Api(flags);
  const whole = isWholeId(id) ? id : await peerId(api, id);
  const peer = await api.get<PeerDetail>(`/network/peers/${whole}`, "score_parts");
  if (flags.json) return printJson(peer);
  const now = Date.now();
  const time = (at: string | null) => at === null ? "never" : `${at}, ${ago(Date.parse(at), now)}`;
  const parts = Object.entries(peer.score_parts)
    .map(([name, value]) => `${name} ${value.toFixed(2)}`);
  const misses = peer.misses === 0 ? "" : `, ${plural(peer.misses, "miss", "misses")} in a row`;
  const variation = peer.rtt_variation_ms === null ? "" : ` ± ${ms(peer.rtt_variation_ms)}`;
  printPairs([
    ["node", peer.node_id],
    ["address", peer.address],
    ["client", printable(peer.client ?? "unknown")],
    ["public key", peer.public_key ?? "not proven"],
    ["health", [`${peer.health}${misses}`, HEALTH_STYLES[peer.health]]],
    ["score", `${peer.score.toFixed(2)} = ${parts.join(" × ")}`],
    ["round trip", peer.rtt_ms === null ? "not measured" : `${ms(peer.rtt_ms)}${variation}`],
    ["faults", peer.faults.toFixed(2)],
    ["keeps us", peer.keeps_us === null ? "unknown" : peer.keeps_us ? "yes" : "no"],
    ["distance", `${plural(peer.distance, "bit")}, bucket ${peer.bucket ?? "-"}`],
    ["first seen", time(peer.first_seen)],
    ["last seen", time(peer.last_seen)],
    ["last answer", time(peer.last_response)],
    ["last query", time(peer.last_query)],
    ["next check", peer.next_check === null ? "-" : until(Date.parse(peer.next_check), now)],
  ]);
  if (peer.history.length === 0) return;
  print();
  printTable(
    ["TIME", "CHANGE", texts("REASON")],
    peer.history.map(({ at, what, reason }) => [at, what, printable(reason ?? "-")]),
  );
}

/** Returns the complete id of a peer. `text` is the id or its first digits. */
export function peerId(api: Api, text: string): Promise<string> {
  return wholeId(text, "peer's id", async function* () {
    const { peers } = await api.get<Peers>("/network/peers", "peers");
    for (const { node_id } of peers) yield node_id;
  });
}
