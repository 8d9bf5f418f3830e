// A liar: a node that joins like any other, and then sends whoever asks it to nodes that it has invented.

import { Writer } from "../krpc/bencode.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import { decode, writeResponse } from "../krpc/message.ts";
import { REPLY_NODES } from "../dht/responder.ts";
import type { SeededRandom } from "./random.ts";
import type { Impostor } from "./world.ts";

/** Invented ids share so many bits with the target: more than any honest node's, whatever the network's size. */
const SHARED_BITS = 48;

/** Its write tokens; it acknowledges whatever comes with them, and keeps none of it. */
const TOKEN = new Uint8Array(8);

/**
 * Answers lookups with nodes closer to the target than anybody, at addresses where nobody is, and writes with an
 * acknowledgement alone. Everything else is left to the node itself, so that it gets into tables and stays there.
 */
export function sybil(random: SeededRandom, anywhere: () => Endpoint): Impostor {
  const writer = new Writer(2_048);
  return (sim, datagram, from) => {
    const query = decode(datagram);
    if (typeof query === "string" || query.type !== "q") return undefined;
    const { id } = sim.node;
    if (query.method === "put" || query.method === "announce_peer") {
      writeResponse(writer, query, from, id, sim.node.client, {});
      return writer.done();
    }
    const target = query.target ?? query.infoHash;
    if (target === undefined) return undefined;
    const nodes = Array.from({ length: REPLY_NODES }, () => ({
      id: target.withSuffix(SHARED_BITS, Id.read(random.bytes(ID_BYTES))),
      endpoint: anywhere(),
    }));
    const token = query.method === "find_node" ? undefined : TOKEN;
    writeResponse(writer, query, from, id, sim.node.client, { nodes, token });
    return writer.done();
  };
}
