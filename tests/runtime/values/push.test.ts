// A watched value over real sockets: the holder reports the new version to the watcher.

import assert from "node:assert/strict";
import { stored, until, withNodes } from "../nodes.ts";

const K = 2, NODES = 5;

const text = (content: string) => new TextEncoder().encode(content);

Deno.test(
  "the holders of a value report each new version to the watcher",
  withNodes(async (start, path) => {
    const owner = await start({ k: K, dataDir: path("owner") });
    const others = [];
    for (let i = 0; i < NODES; i++) {
      others.push(await start({ k: K, dataDir: path(`${i}`), bootstrap: owner.address }));
    }
    const watcher = others.pop()!;
    // Find a key whose value neither the owner nor the watcher holds.
    const ids = others.map(({ nodeId }) => nodeId);
    let key = "", hash = "", holders: string[] = [];
    await until(async () => {
      key += "k";
      ({ hash, nodes: holders } = stored(await owner.store(text("first"), key)));
      return holders.length === K && holders.every((id) => ids.includes(id));
    });
    const watch = await watcher.openWatch(hash, key, null);
    const first = await watcher.nextVersion(watch!, 20_000);
    assert.equal(typeof first === "object" && first.seq, 1);
    await until(async () => (await watcher.measurements()).watching.made === K);
    const holder = others.find(({ nodeId }) => nodeId === holders[0])!;
    assert.equal((await holder.measurements()).watching.held, 1);
    stored(await owner.store(text("second"), key));
    const second = await watcher.nextVersion(watch!, 20_000);
    assert.equal(typeof second === "object" && second.seq, 2);
    const { notices } = (await watcher.measurements()).watching;
    assert.ok(notices.received >= 1);
    assert.equal(notices.unknown, 0);
    await until(async () => (await holder.measurements()).watching.notices.acknowledged === 1);
    await watcher.closeWatch(watch!);
    assert.equal((await watcher.measurements()).watching.made, 0);
  }),
);
