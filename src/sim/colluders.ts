// Malicious nodes that work together: they name only each other, seem to be near any node that
// asks, and keep no values.

import { OWN_COORDINATE_BYTES, writeCoordinate } from "../dht/routing/coordinate.ts";
import { Writer } from "../krpc/bencode.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import { compareDistance, type Id, word } from "../krpc/id.ts";
import {
  decode,
  MAX_REPLY_NODES,
  type Message,
  REPLY_NODES,
  type ResponseValues,
  writeResponse,
} from "../krpc/message.ts";
import type { SimNode, Traits, World } from "./world.ts";

/** The write token in answers to get and get_peers. A colluder never checks tokens. */
const TOKEN = new Uint8Array(8);

/** The height of a false coordinate: the lowest that nodes accept. */
const FALSE_HEIGHT_MS = 0.5;

/** All colluders of a simulation. They know each other, and the coordinates that one of them could learn by a ping. */
export class Colluders {
  readonly #world: World;
  readonly #members: SimNode[] = [];
  readonly #writer = new Writer(2_048);

  constructor(world: World) {
    this.#world = world;
  }

  /** Answers queries in place of a colluder's node. The node itself joins and stays in the network like any other. */
  readonly impostor: NonNullable<Traits["impostor"]> = (sim, datagram, from) => {
    const query = decode(datagram);
    if (typeof query === "string" || query.type !== "q") return undefined;
    const { id, self } = sim.node;
    writeResponse(this.#writer, query, from, id, self.client, this.#answer(query, from, sim));
    return this.#writer.done();
  };

  add(sim: SimNode): void {
    this.#members.push(sim);
  }

  #answer(query: Message, from: Endpoint, sim: SimNode): ResponseValues {
    const { method } = query, target = query.target ?? query.infoHash;
    if (method === "put" || method === "announce_peer") return {};
    const wantsNearby = query.wantCount >= 1;
    const near = this.#beside(from);
    // A node that lies about its own coordinate can be caught. So half of the colluders lie only
    // about the coordinates of other colluders.
    const coordinate = sim.serial % 2 === 0 ? near : coordinateOf(sim);
    const own = wantsNearby || query.coordinate !== undefined ? { keeps: true, coordinate } : {};
    if (target === undefined) return own;
    const count = wantsNearby ? Math.min(query.wantCount, MAX_REPLY_NODES) : REPLY_NODES;
    const nodes = this.#closest(target, count, sim).map(({ node: { id }, endpoint }) => ({
      id,
      endpoint,
      coordinateXy: word(near, 0),
      coordinateZHeight: word(near, 4),
    }));
    return {
      ...own,
      nodes,
      coordinatesOf: wantsNearby ? 4 : undefined,
      token: method === "find_node" ? undefined : TOKEN,
      // A reply with an item's age claims that its sender holds the item. A colluder claims this of every item.
      age: query.challenge !== undefined || query.wantSalt ? 0 : undefined,
    };
  }

  /**
   * A coordinate close to the coordinate of the node at `endpoint`, with an error of 0. A real
   * attacker would learn the node's coordinate by a ping.
   */
  #beside(endpoint: Endpoint): Uint8Array {
    const bytes = new Uint8Array(OWN_COORDINATE_BYTES);
    const { x = 0, y = 0, z = 0 } = this.#world.nodeAt(endpoint)?.node.tables.coordinate ?? {};
    writeCoordinate({ x, y, z, height: FALSE_HEIGHT_MS }, bytes, 0);
    return bytes;
  }

  /** The colluders closest to a target, nearest first. */
  #closest(target: Id, count: number, except: SimNode): SimNode[] {
    const found: SimNode[] = [];
    for (const sim of this.#members) {
      if (sim === except || sim.state !== "up") continue;
      let at = found.length;
      while (at > 0 && compareDistance(sim.node.id, found[at - 1].node.id, target) < 0) at--;
      if (at >= count) continue;
      found.splice(at, 0, sim);
      if (found.length > count) found.pop();
    }
    return found;
  }
}

/** A node's network coordinate, as it results from the round trips that the node has measured. */
function coordinateOf(sim: SimNode): Uint8Array {
  const bytes = new Uint8Array(OWN_COORDINATE_BYTES);
  sim.node.tables.coordinate.write(bytes, 0);
  return bytes;
}
