// Fuzzing of a real node over UDP: it keeps answering, and logs no failure.

import assert from "node:assert/strict";
import fc from "fast-check";
import { configure, type LogRecord, reset } from "logtape";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { decodeAny, latin1, query, text } from "../packets.ts";
import { FUZZ_PACKETS, mutate, mutations, queryPackets, replyPackets, SENDER } from "./packets.ts";

const BATCH = 100;

Deno.test("fuzz: after hostile packets over UDP, a node answers, is small and has logged no failure", async () => {
  const failures: LogRecord[] = [];
  await configure({
    sinks: { failures: (record) => void failures.push(record) },
    loggers: [
      { category: "dmnode", lowestLevel: "error", sinks: ["failures"] },
      { category: ["logtape", "meta"], lowestLevel: "error" },
    ],
    reset: true,
  });
  const node = await LocalNode.start(loadConfig({ flags: { p2pPort: "0" }, env: {} }), {
    persistent: false,
  });
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: node.port };
  let pings = 0;
  /** Sends a query and waits for its reply. Other replies and queries of the node may arrive first. */
  const ask = async (packet: Uint8Array, t: string) => {
    await socket.send(packet, to);
    for (;;) {
      const [datagram] = await socket.receive();
      const reply = decodeAny(datagram);
      if (text(reply.t) === t) return reply;
    }
  };
  const ping = () => {
    const t = `ping ${pings++}`;
    return ask(query("ping", SENDER, {}, { t }), t);
  };
  try {
    const { r } = await ask(
      query("get", SENDER, { target: SENDER.toBytes() }, { t: "tok" }),
      "tok",
    );
    const seeds = [...queryPackets(r.token), ...replyPackets(latin1("abcd"), SENDER.toBytes())];
    await fc.assert(
      fc.asyncProperty(
        fc.array(mutations, { minLength: BATCH, maxLength: BATCH }),
        async (batch) => {
          for (const mutation of batch) {
            const packet = mutate(seeds, mutation);
            // Only packets that fit in a datagram.
            await socket.send(packet.subarray(0, 60_000), to);
          }
          const pong = await ping();
          assert.equal(text(pong.y), "r");
        },
      ),
      { numRuns: FUZZ_PACKETS * 0.05 / BATCH },
    );
    const { storage, routing_table_size, traffic } = await node.stats();
    assert.ok(routing_table_size <= 20);
    assert.ok(storage.items < 10_000 && storage.announced_peers < 10_000);
    assert.ok(traffic.in.messages > FUZZ_PACKETS * 0.02, "most of them arrived");
    assert.deepEqual(failures.map(({ properties }) => properties), []);
  } finally {
    socket.close();
    await node.close();
    await reset();
  }
});
