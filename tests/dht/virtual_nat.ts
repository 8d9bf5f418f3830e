// NATs of a virtual network, with the mappings and filters of RFC 4787 (sections 4 and 5).

import type { Millis } from "../../src/dht/deadlines.ts";
import type { Endpoint } from "../../src/krpc/endpoint.ts";
import { endpoint } from "../packets.ts";
import {
  type Gateway,
  randomSource,
  VirtualNetwork,
  type VirtualNode,
  type VirtualNodeOptions,
} from "./virtual_network.ts";

/** The part of the other side's endpoint on which a mapping or a filter depends. */
export type Dependence = "nothing" | "address" | "address_and_port";

export interface NatBehaviour {
  readonly mapping: Dependence;
  readonly filtering: Dependence;
  /** How long a mapping lasts after the latest outgoing packet; two minutes by default. */
  readonly timeoutMs?: Millis;
}

/** The most frequent kinds. */
export const FULL_CONE: NatBehaviour = { mapping: "nothing", filtering: "nothing" };
export const ADDRESS_RESTRICTED: NatBehaviour = { mapping: "nothing", filtering: "address" };
export const PORT_RESTRICTED: NatBehaviour = {
  mapping: "nothing",
  filtering: "address_and_port",
};
export const SYMMETRIC: NatBehaviour = {
  mapping: "address_and_port",
  filtering: "address_and_port",
};

interface Mapping {
  readonly inner: Endpoint;
  readonly port: number;
  usedAt: Millis;
  /** The endpoints whose packets the NAT lets in, with the times of the latest outgoing packets. */
  readonly open: Map<string, Millis>;
}

let made = 0;

/** A router with one public address, and a private network behind it. */
export class VirtualNat implements Gateway {
  readonly address: string;
  readonly #network: VirtualNetwork;
  readonly #behaviour: NatBehaviour;
  readonly #number = ++made;
  readonly #mappings = new Map<string, Mapping>();
  readonly #byPort = new Map<number, Mapping>();
  readonly #forwarded = new Map<number, Endpoint>();
  readonly #random: (length: number) => Uint8Array;
  #hosts = 0;

  /** `address` is the router's address outside. */
  constructor(network: VirtualNetwork, address: string, behaviour: NatBehaviour) {
    this.#network = network;
    this.address = address;
    this.#behaviour = behaviour;
    this.#random = randomSource(this.#number);
  }

  /** Adds a node behind it. */
  add(options: VirtualNodeOptions = {}): VirtualNode {
    const host = `192.168.${this.#number & 255}.${++this.#hosts}`;
    this.#network.addGateway(this, this.address, [host]);
    return this.#network.add({ at: `${host}:6881`, ...options });
  }

  /** Forwards a port to a machine in the private network. */
  forward(port: number, to: Endpoint): void {
    this.#forwarded.set(port, to);
  }

  unforward(port: number): void {
    this.#forwarded.delete(port);
  }

  /** Forgets all mappings, as after a power cut. */
  restart(): void {
    this.#mappings.clear();
    this.#byPort.clear();
  }

  outbound(from: Endpoint, to: Endpoint, now: Millis): Endpoint {
    for (const [port, inner] of this.#forwarded) {
      if (inner.equals(from)) return endpoint(`${this.address}:${port}`);
    }
    const key = `${from} ${part(to, this.#behaviour.mapping)}`;
    let mapping = this.#mappings.get(key);
    if (mapping !== undefined && now - mapping.usedAt > this.#timeout) {
      this.#byPort.delete(mapping.port);
      mapping = undefined;
    }
    if (mapping === undefined) {
      mapping = { inner: from, port: this.#freePort(), usedAt: now, open: new Map() };
      this.#mappings.set(key, mapping);
      this.#byPort.set(mapping.port, mapping);
    }
    mapping.usedAt = now;
    mapping.open.set(part(to, this.#behaviour.filtering), now);
    return endpoint(`${this.address}:${mapping.port}`);
  }

  inbound(to: Endpoint, from: Endpoint, now: Millis): Endpoint | undefined {
    const forwarded = this.#forwarded.get(to.port);
    if (forwarded !== undefined) return forwarded;
    const mapping = this.#byPort.get(to.port);
    if (mapping === undefined || now - mapping.usedAt > this.#timeout) return undefined;
    const opened = mapping.open.get(part(from, this.#behaviour.filtering));
    return opened !== undefined && now - opened <= this.#timeout ? mapping.inner : undefined;
  }

  get #timeout(): Millis {
    return this.#behaviour.timeoutMs ?? 120_000;
  }

  #freePort(): number {
    for (;;) {
      const [high, low] = this.#random(2);
      const port = (high << 8) | low;
      if (port >= 1024 && !this.#byPort.has(port)) return port;
    }
  }
}

function part(of: Endpoint, dependence: Dependence): string {
  return dependence === "nothing" ? "" : dependence === "address" ? of.host : `${of}`;
}
