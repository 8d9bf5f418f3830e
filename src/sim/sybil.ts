// A malicious node, which joins like any other node and then answers lookups with invented nodes.

import { Writer } from "../krpc/bencode.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import { decode, REPLY_NODES, writeResponse } from "../krpc/message.ts";
import type { SeededRandom } from "./random.ts";
import type { Traits } from "./world.ts";

/** Invented ids share this many leading bits with the target, more than the id of any honest node does. */
const SHARED_BITS = 48;

/** The write token in answers to get and get_peers. A malicious node never checks tokens. */
const TOKEN = new Uint8Array(8);

/**
 * Returns a function that answers lookups with invented nodes and acknowledges writes. The node
 * itself handles all other packets.
 */
export function sybil(random: SeededRandom, randomEndpoint: () => Endpoint): Traits["impostor"] {
  const writer = new Writer(2_048);
  return (sim, datagram, from) => {
    const query = decode(datagram);
    if (typeof query === "string" || query.type !== "q") return undefined;
    const { id } = sim.node;
    if (query.method === "put" || query.method === "announce_peer") {
      writeResponse(writer, query, from, id, sim.node.self.client, {});
      return writer.done();
    }
    const target = query.target ?? query.infoHash;
    if (target === undefined) return undefined;
    const nodes = Array.from({ length: REPLY_NODES }, () => ({
      id: target.withSuffix(SHARED_BITS, Id.read(random.bytes(ID_BYTES))),
      endpoint: randomEndpoint(),
    }));
    const token = query.method === "find_node" ? undefined : TOKEN;
    writeResponse(writer, query, from, id, sim.node.self.client, { nodes, token });
    return writer.done();
  };
}
