// How much a node sends to each neighbour of another implementation while it has nothing to do, beside libtorrent.
// Run: tests/interop/setup.sh && deno run -A bench/quiet.ts [--minutes 60] [--neighbours 8]

import { parseArgs } from "node:util";
import { Dmnodes } from "../tests/interop/dmnode.ts";
import { PeerProcess, randomHex } from "../tests/interop/peers.ts";
import { compact, concat, decodeAny, encode, hex, latin1, text } from "../tests/packets.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { UdpSocket } from "../src/runtime/net/udp.ts";

/** The time before the count starts, in which the node joins. */
const SETTLE_MS = 60_000;

interface Neighbour {
  readonly id: Uint8Array;
  readonly socket: UdpSocket;
}

/** Nodes that answer the queries of BEP 5, name each other, and send no queries. */
class Neighbours {
  readonly #nodes: Neighbour[] = [];
  readonly #queries = new Map<string, number>();
  #bytes = 0;

  constructor(count: number) {
    while (this.#nodes.length < count) this.#add();
  }

  get addresses(): string[] {
    return this.#nodes.map(({ socket }) => `127.0.0.1:${socket.port}`);
  }

  reset(): void {
    this.#queries.clear();
    this.#bytes = 0;
  }

  /** Queries by method, and bytes, that each neighbour receives in an hour. */
  perHour(minutes: number): { queries: Record<string, number>; bytes: number } {
    const share = 60 / minutes / this.#nodes.length;
    const queries = [...this.#queries].map(([method, count]) => [method, count * share] as const);
    return { queries: Object.fromEntries(queries), bytes: this.#bytes * share };
  }

  #add(): void {
    const id = hex(randomHex(20));
    const socket = UdpSocket.bind({
      host: "127.0.0.1",
      port: 0,
      receive: (datagram, from) => this.#answer({ id, socket }, datagram, from),
      onOverflow: () => {},
    });
    socket.start();
    this.#nodes.push({ id, socket });
  }

  #answer({ id, socket }: Neighbour, datagram: Uint8Array, from: Endpoint): void {
    const { t, y, q } = decodeAny(datagram);
    if (text(y) !== "q") return;
    const method = text(q);
    this.#queries.set(method, (this.#queries.get(method) ?? 0) + 1);
    this.#bytes += datagram.length;
    const isKnown = ["ping", "find_node", "get_peers"].includes(method);
    const nodes = concat(
      ...this.#nodes.flatMap((other) => [
        other.id,
        compact(Endpoint.parse("127.0.0.1", other.socket.port)!),
      ]),
    );
    const r = method === "ping"
      ? { id }
      : { id, nodes, ...method === "get_peers" ? { token: latin1("token") } : {} };
    const v = latin1("UT\x01\x02");
    socket.send(
      isKnown ? encode({ t, y: "r", r, v }) : encode({ t, y: "e", e: [204, "unknown"], v }),
      from,
    );
  }

  close(): Promise<void[]> {
    return Promise.all(this.#nodes.map(({ socket }) => socket.close()));
  }
}

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    neighbours: { type: "string", default: "8" },
  },
});
const minutes = Number(values.minutes), count = Number(values.neighbours);
const ours = new Neighbours(count), theirs = new Neighbours(count);
await using dmnodes = new Dmnodes();
await using libtorrent = new PeerProcess("libtorrent");
await dmnodes.start(ours.addresses);
await libtorrent.start({ bootstrap: theirs.addresses });
await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
ours.reset();
theirs.reset();
await new Promise((resolve) => setTimeout(resolve, minutes * 60_000));
for (const [name, neighbours] of [["dmnode", ours], ["libtorrent", theirs]] as const) {
  const { queries, bytes } = neighbours.perHour(minutes);
  const counts = Object.entries(queries).map(([method, n]) => `${method} ${n.toFixed(1)}`);
  console.log(`${name}: ${Math.round(bytes)} bytes an hour and neighbour; ${counts.join(", ")}`);
}
await Promise.all([ours.close(), theirs.close()]);
