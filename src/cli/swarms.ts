// The commands for swarms: discover, announce, withdraw, announced, magnet and sample.

import type { Seq } from "../krpc/seq.ts";
import type { PublishedMagnet, ResolvedMagnet } from "../reports/magnets.ts";
import type { NetworkSample, NodeSample } from "../reports/samples.ts";
import type { AnnouncedSwarm, AnnouncedSwarms, FoundPeers, SwarmPeers } from "../reports/swarms.ts";
import { ago, ms, plural, until } from "../web/format.js";
import { jsonText, parseJson } from "../web/json.js";
import { Api, type ApiFlags, NodeGone } from "./client/api_client.ts";
import { dataOf } from "./client/event_stream.ts";
import { checkId } from "./client/ids.ts";
import { peerId, sayAlone } from "./network.ts";
import { UserError } from "./terminal/errors.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { ids, printTable, right, texts } from "./terminal/table.ts";
import { lifeText } from "./values.ts";
import { print, printable, printJson, stderr } from "./terminal/terminal.ts";

/** The options of commands for one swarm. */
interface SwarmFlags extends ApiFlags {
  readonly service?: string;
}

interface DiscoverFlags extends SwarmFlags {
  readonly withoutSeeds?: boolean;
  readonly scrape?: boolean;
}

interface AnnounceFlags extends SwarmFlags {
  readonly port?: number;
  readonly seed?: boolean;
}

/** Prints the peers of a swarm as the node finds them. */
export async function discover(hash: string | undefined, flags: DiscoverFlags): Promise<void> {
  const api = new Api(flags), { withoutSeeds, scrape, json } = flags;
  const query = { noseed: withoutSeeds ? 1 : undefined, scrape: scrape ? 1 : undefined };
  const url = api.at(pathOf(hash, flags), query);
  const result = await interruptible((signal) =>
    json
      ? api.request(url, { signal }, (response) => api.json<SwarmPeers>(response, "peers"))
      : printFound(api, url, signal)
  );
  if (json) return printJson(result);
  const { peers, ipv4, ipv6, nodes, queries, elapsed_ms, scrape: size } = result;
  if (peers.length === 0 && queries === 0) return sayAlone();
  if (size !== null) {
    const counted = plural(size.nodes, "node");
    print(
      `about ${plural(size.seeds, "seed")} and ${plural(size.peers, "other peer")}, by ${counted}`,
    );
  }
  stderr.write(
    `${plural(peers.length, "peer")} (${ipv4} IPv4, ${ipv6} IPv6) from ${
      plural(nodes, "node")
    } in ${ms(elapsed_ms)}\n`,
  );
}

/** Prints each peer as soon as the node sends it, and returns the result. */
async function printFound(api: Api, url: string, signal: AbortSignal): Promise<SwarmPeers> {
  const headers = { accept: "text/event-stream" };
  return await api.request(url, { headers, signal }, async (response) => {
    for await (const text of dataOf(response)) {
      const part: FoundPeers | SwarmPeers = parseJson(text);
      if ("info_hash" in part) return part;
      for (const peer of part.peers) print(printable(peer));
    }
    throw new NodeGone("the node ended the search before its result: try again");
  });
}

/** Announces a port of this host, and prints the info-hash. */
export async function announce(hash: string | undefined, flags: AnnounceFlags): Promise<void> {
  const api = new Api(flags), { port, seed } = flags;
  const body = JSON.stringify({ port, seed });
  const headers = { "content-type": "application/json" };
  const url = api.at(pathOf(hash, flags));
  const announced = await interruptible((signal) =>
    api.request(
      url,
      { method: "POST", body, headers, signal },
      (response) => api.json<AnnouncedSwarm>(response, "info_hash"),
    )
  );
  if (flags.json) return printJson(announced);
  print(announced.info_hash);
  stderr.write(
    announced.nodes === 0
      ? "dmnode: no node accepted the announcement yet: the node tries again\n"
      : `announced to ${plural(announced.nodes, "node")}\n`,
  );
}

/** Ends an announcement. */
export async function withdraw(hash: string | undefined, flags: SwarmFlags): Promise<void> {
  const api = new Api(flags), path = pathOf(hash, flags);
  await api.request(api.at(path), { method: "DELETE" }, () => Promise.resolve());
  if (flags.json) printJson({ withdrawn: true });
}

/** Prints what the node announces. */
export async function announced(flags: ApiFlags): Promise<void> {
  const list = await new Api(flags).get<AnnouncedSwarms>("/network/swarms", "swarms");
  if (flags.json) return printJson(list);
  const now = Date.now();
  printTable(
    [
      ids("INFO-HASH"),
      texts("SERVICE"),
      right("PORT"),
      "SEED",
      right("NODES"),
      right("LAST"),
      right("NEXT"),
    ],
    list.swarms.map((swarm) => [
      swarm.info_hash,
      printable(swarm.service ?? "-"),
      swarm.port === null ? "UDP" : `${swarm.port}`,
      swarm.seed ? "yes" : "no",
      swarm.failures > 0 ? [`${swarm.nodes}`, "yellow"] : `${swarm.nodes}`,
      swarm.last_at === null ? "never" : ago(Date.parse(swarm.last_at), now),
      until(Date.parse(swarm.next_at), now),
    ]),
  );
  print(plural(list.total, "swarm"));
}

interface MagnetFlags extends ApiFlags {
  readonly key?: string;
  readonly ifSeq?: Seq;
  readonly ttl?: number;
}

/** Prints the torrent of a magnet link or, with a key, publishes a torrent and prints its link. */
export async function magnet(link: string, flags: MagnetFlags): Promise<void> {
  const api = new Api(flags), { key, ifSeq, ttl, json } = flags;
  if (key === undefined) {
    if ((ifSeq ?? ttl) !== undefined) throw new UserError("--if-seq and --ttl require --key", true);
    const found = await api.get<ResolvedMagnet>("/network/magnets", "torrent", { magnet: link });
    return json ? printJson(found) : print(found.torrent);
  }
  const body = jsonText({ info_hash: checkId(link), key, cas: ifSeq, ttl });
  const headers = { "content-type": "application/json" };
  const published = await interruptible((signal) =>
    api.request(
      api.at("/network/magnets"),
      { method: "POST", body, headers, signal },
      (response) => api.json<PublishedMagnet>(response, "magnet"),
    )
  );
  if (json) return printJson(published);
  print(published.magnet);
  stderr.write(`version ${published.seq}; ${lifeText(published)}\n`);
}

/** Prints info-hashes that other nodes store: those of one node, or those that a walk through the network finds. */
export async function sample(
  id: string | undefined,
  flags: ApiFlags & { readonly queries?: number },
): Promise<void> {
  const api = new Api(flags), { queries, json } = flags;
  if (id === undefined) {
    const found = await api.get<NetworkSample>("/network/samples", "sampled", { queries });
    if (json) return printJson(found);
    for (const hash of found.info_hashes) print(hash);
    const { info_hashes, sampled, nodes, elapsed_ms } = found;
    stderr.write(
      `${plural(info_hashes.length, "info-hash", "info-hashes")} from ${sampled} of ${
        plural(nodes, "node")
      } in ${ms(elapsed_ms)}\n`,
    );
    return;
  }
  if (queries !== undefined) {
    throw new UserError("--queries applies to a walk, not to one node", true);
  }
  const path = `/network/samples/${await peerId(api, id)}`;
  const found = await api.get<NodeSample>(path, "info_hashes");
  if (json) return printJson(found);
  for (const hash of found.info_hashes) print(hash);
  stderr.write(`${found.info_hashes.length} of ${found.stored} that the node stores\n`);
}

/** The API's path of a swarm that the user named by its info-hash or by a service. */
function pathOf(hash: string | undefined, { service }: SwarmFlags): string {
  if (hash !== undefined && service !== undefined) {
    throw new UserError("give either an info-hash or --service", true);
  }
  if (hash !== undefined) return `/network/swarms/${checkId(hash)}`;
  if (service === undefined) throw new UserError("give an info-hash, or --service", true);
  return `/network/swarms/service:${encodeURIComponent(service)}`;
}
