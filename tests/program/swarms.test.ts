// Announcements and searches for peers through real nodes and the command line, across a crash.

import assert from "node:assert/strict";
import { type NodeProcess, run, withNodes } from "./program.ts";

const HASH = "77".repeat(20);

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Runs a command through a node. */
const dmnode = ({ api }: NodeProcess, directory: string) => (...args: string[]) =>
  run([...args, "--api", api], { cwd: directory });

async function announcements(
  { api }: NodeProcess,
): Promise<{ info_hash: string; nodes: number }[]> {
  return (await (await fetch(`${api}/network/swarms`)).json()).swarms;
}

Deno.test(
  "a service that one node announces is found through another, after kill -9 too, until it is withdrawn",
  withNodes(async (start, directory) => {
    const first = await start("1");
    const second = await start("2", ["--bootstrap", first.udp]);
    const third = await start("3", ["--bootstrap", first.udp]);
    const ofSecond = dmnode(second, directory), ofThird = dmnode(third, directory);
    const announced = await ofSecond("announce", "--service", "chat", "--port", "4000");
    assert.equal(announced.code, 0, announced.stderr);
    assert.match(announced.stdout, /^[0-9a-f]{40}\n$/);
    const found = await ofThird("discover", "--service", "chat");
    assert.equal(found.stdout, "127.0.0.1:4000\n", found.stderr);
    assert.match(found.stderr, /^1 peer \(1 IPv4, 0 IPv6\) from \d nodes? in /);
    const own = JSON.parse((await ofSecond("discover", "--service", "chat", "--json")).stdout);
    assert.deepEqual(own.peers, ["127.0.0.1:4000"], "its own node finds it too");

    await second.stop("SIGKILL");
    const again = await start("2", ["--bootstrap", first.udp]);
    const ofAgain = dmnode(again, directory);
    await until(async () => (await announcements(again)).some(({ nodes }) => nodes > 0));
    const list = await ofAgain("announced");
    assert.match(
      list.stdout,
      /^INFO-HASH +SERVICE +PORT .*\n[0-9a-f]{40} +chat +4000 .*\n1 swarm\n$/,
    );

    assert.equal((await ofAgain("withdraw", "--service", "chat")).code, 0);
    const twice = await ofAgain("withdraw", "--service", "chat");
    assert.equal(twice.code, 1);
    assert.match(twice.stderr, /^dmnode: this node announces nothing in swarm service:chat/);
    await again.stop("SIGKILL");
    const last = await start("2", ["--bootstrap", first.udp]);
    assert.deepEqual(await announcements(last), []);
  }),
);

Deno.test(
  "a node that is alone finds its own announcement, and a node that joins later finds it too",
  withNodes(async (start, directory) => {
    const alone = await start("1");
    const announce = await dmnode(alone, directory)("announce", HASH, "--port", "4000");
    assert.match(announce.stderr, /no node accepted the announcement yet/);
    assert.equal((await dmnode(alone, directory)("discover", HASH)).stdout, "127.0.0.1:4000\n");
    const newcomer = await start("2", ["--bootstrap", alone.udp]);
    await until(async () =>
      (await dmnode(newcomer, directory)("discover", HASH)).stdout === "127.0.0.1:4000\n"
    );
  }),
);

Deno.test(
  "a node that is asked for an announcement without a port announces its own",
  withNodes(async (start, directory) => {
    const first = await start("1"), second = await start("2", ["--bootstrap", first.udp]);
    await dmnode(second, directory)("announce", HASH, "--seed");
    const { stdout } = await dmnode(first, directory)("discover", HASH, "--scrape", "--json");
    const { peers, scrape } = JSON.parse(stdout);
    assert.deepEqual(peers, [second.udp]);
    assert.deepEqual([scrape.seeds, scrape.peers], [1, 0]);
    const others = await dmnode(first, directory)("discover", HASH, "--without-seeds");
    assert.equal(others.stdout, "");
  }),
);

Deno.test(
  "a magnet link under a key leads to the torrent that was published last",
  withNodes(async (start, directory) => {
    const first = await start("1"), second = await start("2", ["--bootstrap", first.udp]);
    const publish = (hash: string) => dmnode(first, directory)("magnet", hash, "--key", "demo");
    const published = await publish("11".repeat(20));
    assert.match(published.stdout, /^magnet:\?xs=urn:btpk:[0-9a-f]{64}&s=64656d6f\n$/);
    assert.match(published.stderr, /^version 1; /);
    assert.equal((await publish("22".repeat(20))).stdout, published.stdout, "the link stays");
    const resolved = await dmnode(second, directory)("magnet", published.stdout.trim());
    assert.equal(resolved.stdout, `magnet:?xt=urn:btih:${"22".repeat(20)}\n`, resolved.stderr);
    const unknown = await dmnode(second, directory)(
      "magnet",
      `magnet:?xs=urn:btpk:${"ab".repeat(32)}`,
    );
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /^dmnode: nothing was found under the key of magnet:/);
    const wrong = await dmnode(second, directory)("magnet", "magnet:?xt=urn:btih:00");
    assert.equal(wrong.code, 2);
  }),
);

Deno.test(
  "sample prints the info-hashes that other nodes store",
  withNodes(async (start, directory) => {
    const first = await start("1"), second = await start("2", ["--bootstrap", first.udp]);
    await dmnode(first, directory)("announce", HASH, "--port", "4000");
    const walked = await dmnode(first, directory)("sample");
    assert.equal(walked.stdout, `${HASH}\n`, walked.stderr);
    assert.match(walked.stderr, /^1 info-hash from 1 of 1 node in /);
    const { node_id } = JSON.parse((await dmnode(second, directory)("stats", "--json")).stdout);
    const one = await dmnode(first, directory)("sample", node_id);
    assert.deepEqual([one.stdout, one.stderr], [`${HASH}\n`, "1 of 1 that the node stores\n"]);
  }),
);
