// Sybils that surround one key, in order to hide the value stored under it.

import { Writer } from "../krpc/bencode.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { compareDistance, Id, ID_BYTES } from "../krpc/id.ts";
import {
  decode,
  MAX_REPLY_NODES,
  type Message,
  REPLY_NODES,
  type ResponseValues,
  writeQuery,
  writeResponse,
} from "../krpc/message.ts";
import type { NodeOptions } from "../dht/node.ts";
import { OWN_COORDINATE_BYTES } from "../dht/routing/coordinate.ts";
import { isReachable } from "./operations.ts";
import type { SeededRandom } from "./random.ts";
import type { SimNode, World } from "./world.ts";

/** The ids of the Sybils share this many leading bits with the key, more than the id of any honest node does. */
const SHARED_BITS = 24;

/** Each Sybil introduces itself to this many honest nodes nearest to the key, and to as many random honest nodes. */
const ASKED = 100;

/** The introductions are spread over this time. */
const ASKING_MS = 30_000;

/** The write token in answers to get and get_peers. A Sybil never checks tokens. */
const TOKEN = new Uint8Array(8);

/** The coordinate of a node that has just started: the origin, with the largest error. */
const COORDINATE = new Uint8Array(OWN_COORDINATE_BYTES).fill(255, OWN_COORDINATE_BYTES - 1);

/** A bencoded value that has nothing to do with any key. */
const WRONG_VALUE = new TextEncoder().encode("5:wrong");

export interface Siege {
  readonly target: Id;
  /** The number of Sybils. */
  readonly count: number;
  /** The number of /24 networks in which the Sybils have their addresses. */
  readonly networks: number;
  readonly options: Omit<NodeOptions, "id" | "families">;
}

/**
 * Surrounds a key with Sybils. Their ids don't fit their addresses (BEP 42). They name only each
 * other, and acknowledge puts without storing anything. If a node asks in order to repair replicas,
 * they claim to hold the value. If a node asks for the value itself, half of the Sybils return
 * none, and the other half return a wrong one.
 */
export function besiege(
  world: World,
  { target, count, networks, options }: Siege,
  random: SeededRandom,
): SimNode[] {
  const honest = world.nodes.filter(isReachable).sort((x, y) =>
    compareDistance(x.node.id, y.node.id, target)
  );
  const gang: SimNode[] = [];
  const impostor = answers(gang, random);
  const subnets = Array.from({ length: networks }, () => world.randomEndpoint());
  for (let i = 0; i < count; i++) {
    const { a, port } = subnets[i % networks];
    const host = 1 + Math.floor(i / networks);
    const endpoint = Endpoint.ofIpv4((a & ~255) | host, port);
    const id = target.withSuffix(SHARED_BITS, Id.read(random.bytes(ID_BYTES)));
    gang.push(world.add(options, { impostor, place: { id, endpoint } }));
  }
  for (const sybil of gang) {
    const others = Array.from({ length: ASKED }, () => random.pick(honest));
    for (const { endpoint } of [...honest.slice(0, ASKED), ...others]) {
      world.at(world.now + ASKING_MS * random.fraction(), () => introduce(sybil, endpoint));
    }
  }
  return gang;

  /** Sends a query, so that the node pings the Sybil and adds it to its table. */
  function introduce(sybil: SimNode, to: Endpoint): void {
    const { id, self: { client } } = sybil.node;
    const args = { target, coordinate: COORDINATE, keeps: true };
    writeQuery(writer, "find_node", random.word(), id, client, false, args);
    world.send(sybil, writer.done(), to);
  }
}

const writer = new Writer(2_048);

/**
 * Returns a function that answers all queries as a Sybil does. The function ignores the replies to
 * the Sybil's introductions.
 */
function answers(gang: readonly SimNode[], random: SeededRandom): SimNode["traits"]["impostor"] {
  return (sim, datagram, from) => {
    const query = decode(datagram);
    if (typeof query === "string" || query.type !== "q") return undefined;
    const { id, self: { client } } = sim.node;
    writeResponse(writer, query, from, id, client, answer(query, sim));
    return writer.done();
  };

  function answer(query: Message, { serial }: SimNode): ResponseValues {
    const own = query.coordinate === undefined ? {} : { coordinate: COORDINATE, keeps: true };
    if (query.target === undefined && query.infoHash === undefined) return own;
    const wanted = Math.min(gang.length, query.wantCount > 0 ? MAX_REPLY_NODES : REPLY_NODES);
    const first = random.below(gang.length);
    const nodes = Array.from({ length: wanted }, (_, i) => {
      const { node: { id }, endpoint } = gang[(first + i) % gang.length];
      return { id, endpoint };
    });
    if (query.method === "find_node") return { ...own, nodes };
    if (query.method === "put" || query.method === "announce_peer") return {};
    if (query.challenge !== undefined) return { ...own, nodes, token: TOKEN, age: 0 };
    const value = query.method === "get" && serial % 2 === 0 ? WRONG_VALUE : undefined;
    return { ...own, nodes, token: TOKEN, value };
  }
}
