// A node that is killed with -9 at any moment restarts with all values that it has acknowledged.
//
// DMNODE_KILLS: the number of kills (200). DMNODE: an executable to test instead of the source.

import assert from "node:assert/strict";
import { join } from "node:path";
import { NodeProcess } from "../program/program.ts";
import { type Answer, Client, MUTABLE_TARGET, targetOf } from "./client.ts";

const KILLS = Number(Deno.env.get("DMNODE_KILLS") ?? 200);

/** Puts at a time, and the maximum per round, because every start loads all stored values. */
const WINDOW = 8, PUTS_A_ROUND = 60;

/** In every n-th round, the node is killed while it starts. */
const EVERY_FEW = 10;

/** In every n-th round, all values are checked, instead of only the latest. */
const EVERY_MANY = 70;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The values that the node has acknowledged. */
class Acknowledged {
  readonly values: string[] = [];
  seq = 0;
  #sentSeq = 0;
  #count = 0;

  /** Puts values until the client is closed, or `PUTS_A_ROUND` are stored. */
  async write(client: Client): Promise<void> {
    const last = this.#count + PUTS_A_ROUND;
    let isOver = false;
    const note = (answer: Answer, stored: () => void) => {
      if (answer.kind === "response") stored();
      else isOver = true;
      // Only the end of the node may stop it from storing.
      assert.notEqual(answer.kind, "error", JSON.stringify(answer));
    };
    const writers = Array.from({ length: WINDOW }, async (_, i) => {
      while (!isOver && this.#count < last) {
        if (i === 0) {
          const seq = ++this.#sentSeq;
          note(await client.putMutable(seq, `version ${seq}`), () => this.seq = seq);
        } else {
          const value = `${this.#count++} ${"x".repeat(Math.floor(Math.random() * 900))}`;
          note(await client.put(value), () => this.values.push(value));
        }
      }
    });
    await Promise.all(writers);
  }

  /** Asserts that the node has all acknowledged values from `first` on. */
  async verify(client: Client, first: number): Promise<void> {
    const decoder = new TextDecoder();
    let next = first;
    const readers = Array.from({ length: WINDOW }, async () => {
      while (next < this.values.length) {
        const value = this.values[next++];
        const found = (await client.get(targetOf(value))).value as Uint8Array | undefined;
        assert.equal(found && decoder.decode(found), value, "lost");
      }
    });
    await Promise.all(readers);
    const { seq = 0 } = await client.get(MUTABLE_TARGET);
    assert.ok(seq >= this.seq && seq <= this.#sentSeq, `seq ${seq}, acknowledged ${this.seq}`);
  }
}

Deno.test(`${KILLS} times kill -9: every acknowledged value is restored`, async () => {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-kill-" });
  const dataDir = join(directory, "data"), options = { cwd: directory };
  const acknowledged = new Acknowledged();
  let rounds = 0, verified = 0;
  let node: NodeProcess | undefined;
  try {
    while (rounds < KILLS) {
      if (rounds % EVERY_MANY === 0) verified = 0;
      if (rounds++ % EVERY_FEW === 0) {
        const args = ["--p2p-port", "0", "--api-port", "0", "--data-dir", dataDir];
        node = new NodeProcess(args, options);
        await pause(Math.random() * 400);
        await node.stop("SIGKILL");
        continue;
      }
      node = await NodeProcess.start(dataDir, [], options);
      const client = new Client(node.udp);
      await acknowledged.verify(client, verified);
      verified = acknowledged.values.length;
      const writing = acknowledged.write(client);
      await pause(20 + Math.random() * 280);
      assert.equal((await node.stop("SIGKILL")).signal, "SIGKILL");
      client.close();
      await writing;
      const { lines } = node;
      // On a busy machine, the client may be too slow for the node's checks of its peers.
      const isExpected = ({ level, message }: (typeof lines)[number]) =>
        !/^(error|warning)$/.test(level) || message.startsWith("Not ready any more");
      assert.deepEqual(lines.filter((line) => !isExpected(line)), []);
    }
    node = await NodeProcess.start(dataDir, [], options);
    const client = new Client(node.udp);
    await acknowledged.verify(client, 0);
    client.close();
    assert.equal((await node.stop("SIGTERM")).code, 0);
    assert.ok(acknowledged.values.length > KILLS && acknowledged.seq > KILLS / 2);
    console.log(
      `${acknowledged.values.length} values and ${acknowledged.seq} versions of one acknowledged`,
    );
  } finally {
    await node?.stop("SIGKILL");
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a node that is stopped during puts exits within 5 s with status 0, and keeps what it acknowledged", async () => {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-stop-" });
  const dataDir = join(directory, "data"), options = { cwd: directory };
  const acknowledged = new Acknowledged();
  let node: NodeProcess | undefined;
  try {
    for (let round = 0; round < 3; round++) {
      node = await NodeProcess.start(dataDir, [], options);
      const client = new Client(node.udp);
      await acknowledged.verify(client, 0);
      const { length } = acknowledged.values;
      const writing = acknowledged.write(client);
      // On a busy machine, the first acknowledgement may take a second.
      for (let i = 0; i < 2_000 && acknowledged.values.length === length; i++) await pause(5);
      const begun = performance.now();
      const { code, stderr } = await node.stop("SIGTERM");
      assert.equal(code, 0, stderr);
      assert.ok(performance.now() - begun < 5000);
      client.close();
      await writing;
      assert.equal(node.lines.at(-1)!.message, "Stopped");
    }
    node = await NodeProcess.start(dataDir, [], options);
    const client = new Client(node.udp);
    await acknowledged.verify(client, 0);
    client.close();
    assert.ok(acknowledged.values.length > 0);
  } finally {
    await node?.stop("SIGKILL");
    await Deno.remove(directory, { recursive: true });
  }
});
