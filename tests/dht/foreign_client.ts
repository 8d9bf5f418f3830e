// A DHT client of another project, as far as other nodes see it: some such clients never answer `get`.

import type { Endpoint } from "../../src/krpc/endpoint.ts";
import type { Id } from "../../src/krpc/id.ts";
import { compactNodes, decodeAny, encode, text, type Value } from "../packets.ts";
import { Stranger, type VirtualNetwork, type VirtualNode } from "./virtual_network.ts";

export class ForeignClient extends Stranger {
  id: Id;
  /** The client and version that it sends, if any (`v`). */
  version: string | undefined;
  /** Whether it reacts to a query: with an answer, with error 204, or not at all. */
  reacts: (method: string) => "answers" | "refuses" | "ignores" = () => "answers";
  /** The nodes that it names. */
  names: readonly { id: Id; endpoint: Endpoint }[] = [];
  /** The text that it returns for each `get`, if any. */
  value: string | undefined;
  /** The methods of the queries that it received, with the times of their arrival. */
  readonly asked: { method: string; at: number }[] = [];

  constructor(network: VirtualNetwork, at: string) {
    super(network, at);
    this.id = network.randomId();
    this.answer = (packet) => this.#answer(packet);
  }

  /** Makes the client a contact of a node. */
  meet({ node }: VirtualNode): this {
    node.ping(this.at, this.network.now, () => {});
    this.network.run(2 * this.network.delayMs + 10);
    return this;
  }

  /** How many queries with this method it received. */
  count(method: string): number {
    return this.asked.filter((asked) => asked.method === method).length;
  }

  #answer(packet: Uint8Array): Uint8Array | undefined {
    const { t, y, q } = decodeAny(packet);
    if (text(y) !== "q") return undefined;
    const method = text(q);
    this.asked.push({ method, at: this.network.now });
    const reaction = this.reacts(method);
    if (reaction === "ignores") return undefined;
    const version: { v?: string } = this.version === undefined ? {} : { v: this.version };
    if (reaction === "refuses") {
      return encode({ t, y: "e", e: [204, "Method Unknown"], ...version });
    }
    const r: { [key: string]: Value } = { id: this.id.toBytes() };
    if (["find_node", "get", "get_peers"].includes(method)) r.nodes = compactNodes(this.names);
    if (["get", "get_peers"].includes(method)) r.token = "token";
    if (method === "get" && this.value !== undefined) r.v = this.value;
    return encode({ t, y: "r", r, ...version });
  }
}
