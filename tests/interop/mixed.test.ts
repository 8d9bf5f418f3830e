// One network of three implementations: all of them read the values that any of them stores.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import { Dmnodes, misunderstood } from "./dmnode.ts";
import {
  eventually,
  type Found,
  hex,
  PeerProcess,
  publicKeyOf,
  randomHex,
  refusals,
  requirePeers,
  signItem,
  type StartedNode,
  type Stored,
  type Traffic,
} from "./peers.ts";

const DMNODES = 20, BITTORRENT_DHTS = 20, LIBTORRENTS = 5;

/** Number of values of each kind that each implementation stores. Each value comes from another node. */
const VALUES = 5;

/** Number of nodes of each implementation that read every value. */
const READERS = 3;

/** An owner's key and its mutable item, as text and hex, which every implementation accepts. */
interface MutableName {
  readonly seed: string;
  readonly publicKey: string;
  readonly salt: string;
}

/** Undefined if the value was not found. */
type Read = { value: string; seq?: number } | undefined;

/** The operations of an implementation. Each takes the number of a node. */
interface Implementation {
  readonly name: string;
  readonly count: number;
  putImmutable(node: number, value: string): Promise<string>;
  putMutable(node: number, name: MutableName, seq: number, value: string): Promise<void>;
  getImmutable(node: number, hash: string): Promise<Read>;
  getMutable(node: number, name: MutableName): Promise<Read>;
}

Deno.test("a network of dmnode, bittorrent-dht and libtorrent", async (t) => {
  await requirePeers();
  await using dmnodes = new Dmnodes();
  await using javascript = new PeerProcess("bittorrent-dht");
  await using cpp = new PeerProcess("libtorrent");

  const ours: LocalNode[] = [];
  let theirs: { javascript: StartedNode[]; cpp: StartedNode[] };

  await t.step(`${DMNODES} + ${BITTORRENT_DHTS} + ${LIBTORRENTS} nodes join`, async () => {
    const first = await dmnodes.start();
    ours.push(first);
    // Each implementation joins through a different one.
    const bootstrap = [first.address];
    const [javascriptFirst] = await javascript.start({ bootstrap });
    theirs = {
      cpp: await cpp.start({ count: LIBTORRENTS, bootstrap: [javascriptFirst.address] }),
      javascript: [
        javascriptFirst,
        ...await javascript.start({ count: BITTORRENT_DHTS - 1, bootstrap }),
      ],
    };
    while (ours.length < DMNODES) {
      const through = ours.length % 2 === 0 ? theirs.javascript : theirs.cpp;
      ours.push(await dmnodes.start([through[ours.length % LIBTORRENTS].address]));
    }
    for (const node of ours) {
      await eventually(
        "the tables fill",
        async () => (await node.peers()).routing_table_size >= 20,
      );
    }
  });

  const implementations = [
    ofDmnode(ours),
    ofPeer(javascript, BITTORRENT_DHTS),
    ofPeer(cpp, LIBTORRENTS),
  ];
  /** The values on the network, and how to read them. `newest` changes with each new version. */
  const items: {
    what: string;
    newest: Read;
    get: (by: Implementation, node: number) => Promise<Read>;
  }[] = [];
  const names: MutableName[] = [];

  await t.step("each implementation stores immutable and mutable values", async () => {
    for (const writer of implementations) {
      for (let i = 0; i < VALUES; i++) {
        const what = `immutable ${i} by ${writer.name}`;
        const hash = await writer.putImmutable(i % writer.count, what);
        items.push({
          what,
          newest: { value: what, seq: undefined },
          get: (by, node) => by.getImmutable(node, hash),
        });
      }
      for (let i = 0; i < VALUES; i++) {
        const what = `mutable ${i} by ${writer.name}`;
        const seed = randomHex(32);
        const name = { seed, publicKey: publicKeyOf(seed), salt: `salt ${i}` };
        await writer.putMutable(i % writer.count, name, 1, what);
        names.push(name);
        items.push({
          what,
          newest: { value: what, seq: 1 },
          get: (by, node) => by.getMutable(node, name),
        });
      }
    }
  });

  const allRead = async () => {
    for (const reader of implementations) {
      await t.step(`${reader.name} reads all values`, async () => {
        for (const { what, newest, get } of items) {
          for (let i = 1; i <= READERS; i++) {
            // Readers count from the last node, because writers count from the first.
            assert.deepEqual(await get(reader, reader.count - i), newest, what);
          }
        }
      });
    }
    await t.step("a dmnode that has just joined reads all values", async () => {
      const newcomer = ofDmnode([await dmnodes.start([theirs.cpp[0].address])]);
      for (const { what, newest, get } of items) {
        assert.deepEqual(await get(newcomer, 0), newest, what);
      }
    });
  };
  await allRead();

  await t.step("another implementation stores a new version of each mutable value", async () => {
    const mutable = items.filter(({ newest }) => newest?.seq === 1);
    for (const [i, item] of mutable.entries()) {
      const writer = implementations[(Math.floor(i / VALUES) + 1) % implementations.length];
      item.newest = { value: `${item.what}, raised by ${writer.name}`, seq: 2 };
      await writer.putMutable(i % writer.count, names[i], 2, item.newest.value);
    }
  });
  await allRead();

  await t.step("libtorrent pings dmnode, and dmnode refuses no query of libtorrent", async () => {
    const addresses = ours.map(({ address }) => address);
    let answered = 0;
    await eventually("a ping is answered", async () => {
      for (const { node } of theirs.cpp) {
        const traffic = await cpp.ask<Traffic>("traffic", { node, addresses });
        assert.deepEqual(refusals(traffic), []);
        answered += traffic.answered.ping ?? 0;
      }
      return answered > 0;
    }, 120_000);
  });

  await t.step("bittorrent-dht understood every packet", async () => {
    const { warnings } = await javascript.ask<{ warnings: string[] }>("warnings");
    // bittorrent-dht also warns about an answer that came after its timeout of two seconds.
    assert.deepEqual(warnings.filter((text) => !text.startsWith("Unexpected transaction id")), []);
  });

  await t.step("dmnode understood every packet", async () => {
    for (const node of ours) assert.deepEqual(await misunderstood(node), {});
  });
});

function ofDmnode(nodes: LocalNode[]): Implementation {
  const fetch = async (node: number, hash: string, key: string | null): Promise<Read> => {
    const outcome = await nodes[node].fetch(hash, key);
    if (outcome.outcome !== "found") return undefined;
    const { bytes, seq } = outcome.value;
    return { value: new TextDecoder().decode(bytes), seq: seq === null ? undefined : Number(seq) };
  };
  return {
    name: "dmnode",
    get count() {
      return nodes.length;
    },
    async putImmutable(node, value) {
      const outcome = await nodes[node].store(new TextEncoder().encode(value), null);
      assert.equal(outcome.outcome, "stored");
      return immutableHash(value);
    },
    async putMutable(node, { seed, publicKey, salt }, seq, value) {
      const outcome = await nodes[node].storeSigned(mutableHash(publicKey, salt), {
        publicKey: Buffer.from(publicKey, "hex"),
        signature: Buffer.from(signItem(seed, salt, seq, value), "hex"),
        seq,
        salt: new TextEncoder().encode(salt),
        value: new TextEncoder().encode(value),
        cas: null,
      });
      assert.equal(outcome.outcome, "stored");
    },
    getImmutable: (node, hash) => fetch(node, hash, null),
    getMutable: (node, { publicKey, salt }) => fetch(node, mutableHash(publicKey, salt), salt),
  };
}

function ofPeer(peers: PeerProcess, count: number): Implementation {
  const read = (found: Found): Read =>
    found.found
      ? { value: Buffer.from(found.value, "hex").toString(), seq: found.seq ?? undefined }
      : undefined;
  return {
    name: peers.kind,
    count,
    async putImmutable(node, value) {
      const { hash } = await peers.ask<Stored>("put_immutable", { node, value: hex(value) });
      assert.equal(hash, immutableHash(value));
      return hash;
    },
    async putMutable(node, { seed, publicKey, salt }, seq, value) {
      const stored = await peers.ask<Stored>("put_mutable", {
        node,
        seed,
        public_key: publicKey,
        salt: hex(salt),
        seq,
        value: hex(value),
      });
      assert.equal(stored.seq, seq);
    },
    async getImmutable(node, hash) {
      return read(await peers.ask<Found>("get_immutable", { node, hash }));
    },
    async getMutable(node, { publicKey, salt }) {
      const request = { node, public_key: publicKey, salt: hex(salt) };
      return read(await peers.ask<Found>("get_mutable", request));
    },
  };
}

function immutableHash(value: string): string {
  return createHash("sha1").update(`${Buffer.byteLength(value)}:${value}`).digest("hex");
}

function mutableHash(publicKey: string, salt: string): string {
  return createHash("sha1").update(Buffer.from(publicKey, "hex")).update(salt).digest("hex");
}
