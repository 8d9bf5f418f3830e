// Values on real nodes: kept published and let go, with enough copies or none, of one owner at two nodes, watched.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import { Identity } from "../../src/runtime/crypto.ts";
import { writeIdentity } from "../../src/runtime/identity.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import type { FetchOutcome, StoreOutcome } from "../../src/runtime/service.ts";
import { sampleBytes } from "../data/memory_network.ts";
import { latin1, text } from "../packets.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

interface Options {
  readonly bootstrap?: string;
  readonly dataDir?: string;
  readonly k?: string;
  readonly p2pPort?: string;
}

type Start = (options?: Options) => Promise<LocalNode>;

/** Runs a test with nodes that are closed at its end. */
function withNodes(body: (start: Start, path: (name: string) => string) => Promise<void>) {
  return () =>
    inTemporaryDirectory(async (path) => {
      const nodes: LocalNode[] = [];
      try {
        await body(async (options = {}) => {
          const config = loadConfig({ flags: { p2pPort: "0", ...options }, env: {} });
          const persistent = options.dataDir !== undefined;
          const node = await LocalNode.start(config, { persistent });
          nodes.push(node);
          return node;
        }, path);
      } finally {
        await Promise.all(nodes.map((node) => node.close()));
      }
    });
}

/** So many nodes that know of each other; those with a directory come first. */
async function network(start: Start, count: number, dataDirs: string[] = []): Promise<LocalNode[]> {
  const nodes = [await start({ dataDir: dataDirs[0] })];
  for (let i = 1; i < count; i++) {
    const bootstrap = `127.0.0.1:${nodes[0].port}`;
    const node = await start({ bootstrap, dataDir: dataDirs[i] });
    nodes.push(node);
    await until(() => node.readiness().ready && node.stats().lookups.active === 0);
  }
  for (const node of nodes) {
    await until(async () => (await node.find(node.nodeId)).nodes.length === count - 1);
  }
  return nodes;
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!await holds()) {
    assert.ok(performance.now() < deadline, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function stored(outcome: StoreOutcome) {
  assert.equal(outcome.outcome, "stored", JSON.stringify(outcome));
  return outcome.outcome === "stored" ? outcome.report : assert.fail();
}

const valueOf = (outcome: FetchOutcome) =>
  outcome.outcome === "found"
    ? `${text(outcome.value.bytes)} ${outcome.value.seq}`
    : outcome.outcome;

Deno.test(
  "all that is stored through a node is kept published until it is told to forget it",
  withNodes(async (start, path) => {
    const node = await start({ dataDir: path("a") });
    const one = stored(await node.store(latin1("one"), null));
    const keyed = stored(await node.store(latin1("two"), "grüße"));
    const large = stored(await node.store(sampleBytes(50_000), null));
    const largeKeyed = stored(await node.store(sampleBytes(2_000), "large"));
    const page = node.published(0, 10);
    assert.equal(page.total, 4);
    assert.deepEqual(
      new Set(
        page.values.map(({ hash, kind, key, seq, size, items }) =>
          [hash, kind, key, seq, size, items].join(" ")
        ),
      ),
      new Set([
        `${one.hash} immutable   3 1`,
        `${keyed.hash} mutable grüße 1 3 1`,
        `${large.hash} chunked   50000 54`,
        `${largeKeyed.hash} chunked large 1 2000 5`,
      ]),
    );
    const { storage } = node.stats();
    // Both large ones begin with the same two chunks.
    assert.deepEqual([storage.published, storage.publishedItems], [4, 1 + 1 + 54 + 5 - 2]);
    assert.deepEqual([storage.items, storage.replicated], [storage.publishedItems, 0]);
    assert.ok(page.values.every(({ nextAt, lastAt }) => nextAt - lastAt! > 3_000_000));

    assert.equal(node.forget(large.hash), true);
    assert.equal(node.forget(large.hash), false);
    stored(await node.store(latin1("small now"), "large"));
    await node.close();
    const again = await start({ dataDir: path("a") });
    assert.deepEqual(
      new Set(again.published(0, 10).values.map(({ hash }) => hash)),
      new Set([one.hash, keyed.hash, largeKeyed.hash]),
    );
    assert.equal(again.stats().storage.publishedItems, 3);
  }),
);

Deno.test(
  "an item that its owner signed is kept published as well",
  withNodes(async (start) => {
    const node = await start();
    const owner = Identity.generate();
    const signature = owner.sign(latin1("3:seqi5e1:v4:mine"));
    const hash = Array.from(
      new Uint8Array(await crypto.subtle.digest("SHA-1", owner.publicKey.slice())),
      (byte) => byte.toString(16).padStart(2, "0"),
    ).join("");
    const item = { publicKey: owner.publicKey, signature, seq: 5, salt: null, cas: null };
    stored(await node.storeSigned(hash, { ...item, value: latin1("mine") }));
    const [value] = node.published(0, 10).values;
    assert.deepEqual([value.hash, value.key, value.seq], [hash, null, 5]);
  }),
);

Deno.test(
  "fewer copies than are asked for are a failure that says so, and not kept published",
  withNodes(async (start) => {
    const [node] = await network(start, 2);
    const begun = performance.now();
    const [small, large] = await Promise.all([
      node.store(latin1("v"), null, { minReplicas: 3 }),
      node.store(sampleBytes(2_000), null, { minReplicas: 3 }),
    ]);
    assert.ok(performance.now() - begun >= 7_000);
    const few = { outcome: "too_few", acknowledged: 2, wanted: 3, refusals: [] };
    assert.deepEqual(small, { ...few, isPublished: false });
    // Its hash is that of parts which were not made.
    assert.deepEqual(large, { ...few, isPublished: undefined });
    assert.equal(node.published(0, 10).total, 0);
    stored(await node.store(latin1("v"), null));
    const again = await node.store(latin1("v"), null, { minReplicas: 3 });
    assert.deepEqual(
      again,
      { ...few, isPublished: true },
      "what an earlier store has published stays",
    );
    assert.equal(node.published(0, 10).total, 1);
    const waiting = node.store(latin1("w"), "key", { minReplicas: 3 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await start({ bootstrap: `127.0.0.1:${node.port}` });
    assert.equal(stored(await waiting).replicas, 3, "a node that comes meanwhile helps");
    assert.equal(
      stored(await node.store(sampleBytes(2_000), null, { minReplicas: 3 })).replicas,
      3,
    );
  }),
);

Deno.test(
  "replicas: who holds a value, in which version, and of a large one the least and the mean",
  withNodes(async (start) => {
    const [node, other] = await network(start, 3);
    const { hash } = stored(await node.store(latin1("v"), "key"));
    const outcome = await other.replicas(hash, null);
    if (outcome.outcome !== "found") return assert.fail(outcome.outcome);
    const { kind, seq, holders, wanted, parts } = outcome.report;
    assert.deepEqual([kind, seq, holders.length, wanted, parts], ["mutable", 1, 3, 20, null]);
    assert.ok(holders.every((holder) => holder.seq === 1 && holder.ageS! < 60));
    assert.deepEqual(
      new Map(holders.map(({ nodeId, address }) => [nodeId, address])).get(other.nodeId),
      null,
    );
    const large = stored(await node.store(sampleBytes(50_000), null));
    const counted = await other.replicas(large.hash, null);
    if (counted.outcome !== "found") return assert.fail(counted.outcome);
    assert.equal(counted.report.kind, "chunked");
    assert.deepEqual(counted.report.parts, {
      manifests: 3,
      manifestsCounted: 3,
      chunks: 51,
      chunksCounted: 20,
      least: 3,
      mean: 3,
    });
    assert.equal((await other.replicas("77".repeat(20), null)).outcome, "not_found");
  }),
);

Deno.test(
  "cas: a version is stored only over the one that is expected, large ones too",
  withNodes(async (start) => {
    const [node] = await network(start, 3);
    const put = async (value: Uint8Array, cas: number) => {
      const outcome = await node.store(value, "key", { cas });
      return outcome.outcome === "stored" ? outcome.report.seq : outcome;
    };
    assert.deepEqual(await put(latin1("one"), 1), { outcome: "cas_mismatch", seq: 0 });
    assert.equal(await put(latin1("one"), 0), 1);
    assert.deepEqual(await put(latin1("two"), 0), { outcome: "cas_mismatch", seq: 1 });
    assert.equal(await put(sampleBytes(2_000), 1), 2);
    assert.deepEqual(await put(sampleBytes(3_000), 1), { outcome: "cas_mismatch", seq: 2 });
    assert.equal(await put(latin1("three"), 2), 3);
  }),
);

Deno.test(
  "two nodes of one identity: under cas one of two wins, else the last; all read the same",
  withNodes(async (start, path) => {
    const identity = Identity.generate();
    for (const name of ["a", "b"]) {
      Deno.mkdirSync(path(name));
      writeIdentity(path(name), identity);
    }
    const nodes = await network(start, 5, [path("a"), path("b")]);
    const [a, b, ...others] = nodes;
    assert.equal(a.stats().publicKey, b.stats().publicKey);
    const { hash } = stored(await a.store(latin1("first"), "key"));
    let seq = stored(await b.store(latin1("second"), "key")).seq!;
    assert.equal(seq, 2);

    const agreed = async () => {
      const values = await Promise.all(
        nodes.map(async (node) => valueOf(await node.fetch(hash, "key"))),
      );
      assert.equal(new Set(values).size, 1, values.join(", "));
      return values[0];
    };
    for (let round = 0; round < 10; round++) {
      const both = await Promise.all(
        [a, b].map((node, i) => node.store(latin1(`${round} of ${i}`), "key", { cas: seq })),
      );
      const won = both.map(({ outcome }) => outcome === "stored");
      assert.ok(!(won[0] && won[1]), "not both");
      if (!won[0] && !won[1]) {
        // A tie: whoever tries again settles it.
        seq = stored(await a.store(latin1("settled"), "key")).seq!;
        continue;
      }
      const winner = won[0] ? 0 : 1;
      seq = stored(both[winner]).seq!;
      assert.match(both[1 - winner].outcome, /^(overtaken|cas_mismatch)$/);
      assert.equal(await agreed(), `${round} of ${winner} ${seq}`);
    }
    for (let round = 0; round < 10; round++) {
      const both = await Promise.all(
        [a, b].map((node, i) => node.store(latin1(`${round} from ${i}`), "key")),
      );
      const seqs = both.map((outcome) => stored(outcome).seq!);
      assert.notEqual(seqs[0], seqs[1]);
      const last = seqs[0] > seqs[1] ? 0 : 1;
      assert.equal(await agreed(), `${round} from ${last} ${seqs[last]}`);
    }
    assert.equal(others.length, 3);
  }),
);

Deno.test(
  "a holder that was away has an old version, and the next reader brings it up to date",
  withNodes(async (start, path) => {
    const [first, second, third] = await network(start, 3, [path("1"), path("2"), path("3")]);
    const { hash } = stored(await first.store(latin1("old"), "key"));
    await third.close();
    assert.equal(stored(await first.store(latin1("new"), "key")).seq, 2);
    const bootstrap = `127.0.0.1:${first.port}`;
    const again = await start({ dataDir: path("3"), bootstrap, p2pPort: `${third.port}` });
    await until(() => again.readiness().ready);
    const seqs = async () => {
      const outcome = await second.replicas(hash, null);
      if (outcome.outcome !== "found") return assert.fail(outcome.outcome);
      return new Map(outcome.report.holders.map(({ nodeId, seq }) => [nodeId, seq]));
    };
    await until(async () => (await seqs()).get(again.nodeId) === 1);
    assert.equal((await seqs()).get(second.nodeId), 2);
    assert.equal(valueOf(await second.fetch(hash, null)), "new 2");
    await until(async () => (await seqs()).get(again.nodeId) === 2);
  }),
);

Deno.test(
  "a watched value: at the start, put from here, stored here by others, and put elsewhere",
  withNodes(async (start) => {
    const [owner, other] = await network(start, 3);
    const next = async (watch: ReturnType<LocalNode["watch"]>) => {
      const version = await watch!.next(10_000);
      return typeof version === "object" ? [version.seq, version.size] : version;
    };
    const { hash } = stored(await owner.store(latin1("one"), "key"));
    const watches = [owner, other].map((node) => node.watch(hash, null, null));
    for (const watch of watches) assert.deepEqual(await next(watch), [1, 3]);
    const begun = performance.now();
    stored(await owner.store(latin1("three"), "key"));
    for (const watch of watches) assert.deepEqual(await next(watch), [2, 5]);
    stored(await owner.store(sampleBytes(2_000), "key"));
    for (const watch of watches) assert.deepEqual(await next(watch), [3, 2_000]);
    assert.ok(performance.now() - begun < 4_000, "sooner than by polls");
    await other.close();
    assert.equal(await next(watches[1]), undefined);
  }),
);

Deno.test(
  "a watched value is polled where this node does not hold it",
  withNodes(async (start) => {
    const nodes = [await start({ k: "1" })];
    for (let i = 1; i < 6; i++) {
      nodes.push(await start({ k: "1", bootstrap: `127.0.0.1:${nodes[0].port}` }));
    }
    await until(() => nodes.every((node) => node.readiness().ready));
    const [owner] = nodes;
    const { hash, nodes: holders } = stored(await owner.store(latin1("one"), "key"));
    const reader = nodes.find((node) => node !== owner && !holders.includes(node.nodeId))!;
    const watch = reader.watch(hash, null, 1)!;
    assert.equal(await watch.next(1_000), "quiet");
    stored(await owner.store(latin1("two!"), "key"));
    const version = await watch.next(15_000);
    assert.deepEqual(typeof version === "object" && [version.seq, version.size], [2, 4]);
  }),
);
