// Packets that a node drops, through its socket and as shipped on Linux: garbage at a node without a network key, beside
// random and sealed packets at a node with one.
//
// deno run --allow-all bench/dropped.ts [COUNT]

import { NetworkKey } from "../src/config/network_key.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { PacketSeal, SEAL_BYTES } from "../src/runtime/net/packet_seal.ts";
import { median, printTable } from "./measure.ts";
import { cpuSeconds, Running } from "./running.ts";

/** Different packets of each kind, and the bytes of their messages. */
const VARIANTS = 512, BYTES = 300;

const ROUNDS = 7;

/** Packets are sent in bursts that fit the receive buffer of the node, with a pause of a millisecond after each. */
const BURST = 20;

const count = Number(Deno.args[0] ?? 50_000);
await using running = new Running("", undefined, { seconds: 0, rounds: ROUNDS, window: 0 });
const key = NetworkKey.random();
const plain = await running.startOwn("node_server.ts", "127.0.0.1", "batches");
const withKey = await running.startOwn("node_server.ts", "127.0.0.1", "batches", key.secretText());
const sender = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });

// A member of the network has sealed these packets, but they come from an address that has not proven itself.
const member = await PacketSeal.create([key], { drop: () => {} });
const elsewhere = Endpoint.parse("10.0.0.1", 8000)!;
const random = variants(() => crypto.getRandomValues(new Uint8Array(BYTES + SEAL_BYTES)));
const sealed = variants(() => member.seal(new Uint8Array(BYTES), elsewhere).slice());

const kinds = {
  "garbage, without a key": { server: plain, packets: random },
  "random": { server: withKey, packets: random },
  "sealed, from another address": { server: withKey, packets: sealed },
};
const samples = Object.values(kinds).map((): number[] => []);
for (let round = 0; round <= ROUNDS; round++) {
  for (const [i, { server, packets }] of Object.values(kinds).entries()) {
    const before = await cpuSeconds(server.process);
    const to = { transport: "udp", hostname: "127.0.0.1", port: server.port } as const;
    for (let n = 0; n < count; n++) {
      await sender.send(packets[n % VARIANTS], to);
      if (n % BURST === 0) await pause(1);
    }
    await pause(200);
    const micros = (await cpuSeconds(server.process) - before) * 1e6 / count;
    if (round > 0) samples[i].push(micros); // the first round warms up
  }
}
sender.close();
const first = median(samples[0]);
printTable(
  `Dropped packets of ${BYTES + SEAL_BYTES} bytes, ${count} in each of ${ROUNDS} rounds`,
  ["kind", "CPU µs", "of garbage"],
  Object.keys(kinds).map((kind, i) => {
    const micros = median(samples[i]);
    return [kind, micros.toFixed(2), `${(100 * micros / first).toFixed(0)} %`];
  }),
);

function variants(make: () => Uint8Array): Uint8Array[] {
  return Array.from({ length: VARIANTS }, make);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
