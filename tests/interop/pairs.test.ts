// dmnode and one other implementation: each joins and finds the other, and holds the other's values.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import type { SignedItem, StoreOutcome } from "../../src/node_service.ts";
import type { Stored as StoreReport } from "../../src/reports/values.ts";
import { type CoreNode, Dmnodes, misunderstood } from "./dmnode.ts";
import {
  type Contact,
  eventually,
  type Found,
  hex,
  PeerError,
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

const SALT = "a salt";

/** "996:" and 996 bytes are 1000 bytes, the limit of BEP 44. */
const LARGEST = "x".repeat(996);

for (const kind of ["bittorrent-dht", "libtorrent"] as const) {
  const isLibtorrent = kind === "libtorrent";

  Deno.test(`dmnode and ${kind} find each other`, async (t) => {
    await requirePeers();
    await using peers = new PeerProcess(kind);
    await using dmnodes = new Dmnodes();
    const ours = await dmnodes.start();
    const [theirs] = await peers.start({ bootstrap: [ours.address] });

    await t.step(`${kind} bootstraps from dmnode`, async () => {
      await eventually(
        "each has the other in its table",
        async () => await knows(ours, theirs) && await isKnown(peers, theirs, ours),
      );
    });

    await t.step(`dmnode bootstraps from ${kind}`, async () => {
      const newcomer = await dmnodes.start([theirs.address]);
      await eventually(
        "each has the other in its table",
        async () => await knows(newcomer, theirs) && await isKnown(peers, theirs, newcomer),
      );
    });

    await t.step(`dmnode pings ${kind}`, async () => {
      assert.equal((await ours.ping(theirs.nodeId)).outcome, "pong");
    });

    await t.step(`${kind} queries dmnode at an address`, async () => {
      // libtorrent has no ping operation. It sends a get_peers to a new address.
      const cmd = isLibtorrent ? "contact" : "ping";
      const { nodeId } = await peers.ask<Contact>(cmd, {
        node: theirs.node,
        address: ours.address,
      });
      assert.equal(nodeId, ours.nodeId);
    });

    await t.step(`dmnode finds nodes through ${kind}`, async () => {
      const [further] = await peers.start({ bootstrap: [theirs.address] });
      const newcomer = await dmnodes.start([theirs.address]);
      assert.equal((await newcomer.find(further.nodeId)).found, true);
      assert.equal((await newcomer.find(ours.nodeId)).found, true);
    });

    await t.step(`${kind} finds nodes through dmnode`, async () => {
      const newcomer = await dmnodes.start([ours.address]);
      await eventually(
        "dmnode has all in its table",
        async () => (await ours.peers()).routing_table_size >= 4,
      );
      const request = { node: theirs.node, address: ours.address, target: newcomer.nodeId };
      // libtorrent never sends find_node. The nodes in the answer to get_peers come from the same table.
      const ids = isLibtorrent
        ? (await peers.ask<{ nodes: string[] }>("sample_infohashes", request)).nodes
        : (await peers.ask<{ nodes: Contact[] }>("find_node", request)).nodes.map((n) => n.nodeId);
      assert.ok(ids.includes(newcomer.nodeId));
      assert.ok(ids.includes(theirs.nodeId));
    });

    await t.step("dmnode understood every packet", async () => {
      assert.deepEqual(await misunderstood(ours), {});
    });
  });

  Deno.test(`dmnode holds what ${kind} stores`, async (t) => {
    await requirePeers();
    await using peers = new PeerProcess(kind);
    await using dmnodes = new Dmnodes();
    // The writer can store only at this node.
    const holder = await dmnodes.start();
    const [writer] = await peers.start({ bootstrap: [holder.address] });
    const write = <T>(cmd: string, request: Record<string, unknown>) =>
      peers.ask<T>(cmd, { node: writer.node, ...request });

    const announced = new Map<string, string>();
    await t.step(`${kind} announces itself`, async () => {
      // Port 0 announces the source port of the packets.
      for (const port of isLibtorrent ? [0] : [4242, 0]) {
        const infoHash = randomHex(20);
        const announcement = await write<{ port: number }>("announce", {
          info_hash: infoHash,
          port,
        });
        announced.set(infoHash, `127.0.0.1:${announcement.port}`);
      }
    });

    const immutable = new Map<string, string>();
    await t.step(`${kind} stores strings, including the largest`, async () => {
      for (const value of ["a value", LARGEST]) {
        const { hash } = await write<Stored>("put_immutable", { value: hex(value) });
        immutable.set(hash, value);
      }
    });

    /** The value is not a string, so dmnode returns its bencoded bytes. */
    const dictionary = new Map<string, string>();
    await t.step(`${kind} stores a dictionary`, async () => {
      const json = { list: [1, "two", { deep: -3 }], "": "empty key" };
      const { hash } = await write<Stored>("put_immutable", { json });
      dictionary.set(hash, "d0:9:empty key4:listli1e3:twod4:deepi-3eeee");
    });

    const seed = randomHex(32);
    const name = { public_key: publicKeyOf(seed), salt: hex(SALT) };
    const put = (seq: number, cas?: number) =>
      write<Stored>("put_mutable", { ...name, seed, seq, cas, value: hex(`version ${seq}`) });
    let newest = 2;
    await t.step(`${kind} stores a mutable value and a newer version`, async () => {
      assert.equal((await put(1)).seq, 1);
      assert.equal((await put(2)).seq, 2);
    });

    if (!isLibtorrent) { // libtorrent signs only the next version, and has no cas
      await t.step("dmnode refuses an older version and a wrong cas", async () => {
        const refused = (code: number) => (error: unknown) =>
          error instanceof PeerError && error.code === code;
        await assert.rejects(put(1), refused(302));
        await assert.rejects(put(3, 1), refused(301));
        await put(newest = 3, 2);
      });
    } else {
      await t.step(`dmnode refused no query of ${kind}`, async () => {
        const traffic = await write<Traffic>("traffic", {});
        assert.deepEqual(refusals(traffic), []);
        for (const query of ["get_peers", "announce_peer", "get", "put"]) {
          assert.ok(traffic.answered[query] > 0, query);
        }
      });
    }

    await peers.replace(writer);
    await t.step(`${kind} reads all values from dmnode`, async () => {
      const [reader] = await peers.start({ bootstrap: [holder.address] });
      await readByPeer(peers, reader, announced, immutable, name, `version ${newest}`, newest);
    });

    await t.step("dmnode reads all values from dmnode", async () => {
      const reader = await dmnodes.start([holder.address]);
      const core = await dmnodes.startCore(holder.address);
      const values = new Map([...immutable, ...dictionary]);
      await readByDmnode(reader, core, announced, values, name, `version ${newest}`, newest);
    });

    if (isLibtorrent) {
      await t.step("a read-only node reads values, and dmnode sends it no queries", async () => {
        const [reader] = await peers.start({ bootstrap: [holder.address], read_only: true });
        const [hash, value] = [...immutable][0];
        for (let i = 0; i < 2; i++) { // dmnode's packets after the first read arrive before the second read ends
          const found = await peers.ask<Found>("get_immutable", { node: reader.node, hash });
          assert.equal(found.found && found.value, hex(value));
        }
        assert.equal(await knows(holder, reader), false);
        const { received } = await peers.ask<Traffic>("traffic", { node: reader.node });
        assert.deepEqual(received, {});
      });
    }

    await t.step("dmnode understood every packet", async () => {
      assert.deepEqual(await misunderstood(holder), {});
    });
  });

  Deno.test(`${kind} holds what dmnode stores`, async (t) => {
    await requirePeers();
    await using peers = new PeerProcess(kind);
    await using dmnodes = new Dmnodes();
    const [holder] = await peers.start();
    const writer = await dmnodes.start([holder.address]);
    const announcer = await dmnodes.startCore(holder.address);
    const acknowledged = (report: StoreReport) => {
      assert.ok(report.nodes.includes(holder.nodeId), `it refused: only ${report.nodes} stored it`);
      return report;
    };

    const announced = new Map<string, string>();
    await t.step("dmnode announces itself", async () => {
      for (const port of [4242, undefined]) {
        const infoHash = randomHex(20);
        const result = await announcer.announce(infoHash, port);
        assert.ok(result.announced.some((id) => id.toString() === holder.nodeId), "it refused");
        announced.set(infoHash, `127.0.0.1:${port ?? announcer.port}`);
      }
    });

    const immutable = new Map<string, string>();
    await t.step("dmnode stores strings, including the largest", async () => {
      for (const value of ["a value", LARGEST]) {
        const { hash } = acknowledged(stored(await writer.store(bytes(value), null)));
        immutable.set(hash, value);
      }
    });

    const { public_key: publicKey } = await writer.stats();
    await t.step("dmnode stores its own mutable value and a newer version", async () => {
      for (const seq of [1, 2]) {
        const report = acknowledged(stored(await writer.store(bytes(`version ${seq}`), SALT)));
        assert.equal(report.seq, seq);
      }
    });

    await t.step("dmnode stores another owner's value, and then no older version", async () => {
      const owned = ownersItem(randomHex(32));
      acknowledged(stored(await writer.storeSigned(owned.hash, owned.item(5, "fifth"))));
      // A node that never saw the item learns about the newer version from the network.
      const newcomer = await dmnodes.start([holder.address]);
      assert.deepEqual(await newcomer.storeSigned(owned.hash, owned.item(4, "fourth")), {
        outcome: "seq_too_old",
        seq: 5,
      });
    });

    await dmnodes.replace();
    const name = { public_key: publicKey, salt: hex(SALT) };
    await t.step(`dmnode reads all values from ${kind}`, async () => {
      const reader = await dmnodes.start([holder.address]);
      const core = await dmnodes.startCore(holder.address);
      await readByDmnode(reader, core, announced, immutable, name, "version 2", 2);
      assert.deepEqual(await misunderstood(reader), {});
    });

    await t.step(`${kind} reads all values from ${kind}`, async () => {
      const [reader] = await peers.start({ bootstrap: [holder.address] });
      await readByPeer(peers, reader, announced, immutable, name, "version 2", 2);
    });
  });
}

Deno.test("dmnode counts a value as stored if bittorrent-dht refuses it as already stored", async () => {
  await requirePeers();
  await using peers = new PeerProcess("bittorrent-dht");
  await using dmnodes = new Dmnodes();
  const [first] = await peers.start();
  const theirs = [first, ...await peers.start({ count: 23, bootstrap: [first.address] })];
  const ours = await dmnodes.start([first.address]);
  await eventually("dmnode finds them", async () => (await ours.peers()).routing_table_size >= 20);

  // Choose a salt whose target is so far from dmnode that dmnode is not among the 20 storing nodes.
  let owned: ReturnType<typeof ownersItem>, nearer: number;
  do {
    owned = ownersItem(randomHex(32));
    const target = BigInt(`0x${owned.hash}`);
    const distance = ({ nodeId }: { nodeId: string }) => BigInt(`0x${nodeId}`) ^ target;
    nearer = theirs.filter((node) => distance(node) < distance(ours)).length;
  } while (nearer < 20);
  const item = owned.item(1, "value");
  assert.equal(stored(await ours.storeSigned(owned.hash, item)).replicas, 20);
  assert.equal((await ours.storeSigned(owned.hash, item)).outcome, "stored");
});

/** The target of a mutable item, in hex. */
interface Name {
  readonly public_key: string;
  readonly salt: string;
}

/** Makes a node of the other implementation read announced addresses, immutable values, and one mutable value. */
async function readByPeer(
  peers: PeerProcess,
  { node }: StartedNode,
  announced: Map<string, string>,
  immutable: Map<string, string>,
  name: Name,
  value: string,
  seq: number,
): Promise<void> {
  for (const [infoHash, address] of announced) {
    const request = { node, info_hash: infoHash };
    const { peers: found } = await peers.ask<{ peers: string[] }>("get_peers", request);
    assert.deepEqual(found, [address]);
  }
  for (const [hash, value] of immutable) {
    const found = await peers.ask<Found>("get_immutable", { node, hash });
    assert.equal(found.found && found.value, hex(value));
  }
  const found = await peers.ask<Found>("get_mutable", { node, ...name });
  assert.deepEqual(found.found && [found.value, found.seq], [hex(value), seq]);
}

/** Makes a dmnode read announced addresses, immutable values, and one mutable value. */
async function readByDmnode(
  node: LocalNode,
  core: CoreNode,
  announced: Map<string, string>,
  immutable: Map<string, string>,
  name: Name,
  value: string,
  seq: number,
): Promise<void> {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  for (const [infoHash, address] of announced) {
    assert.deepEqual(await core.peers(infoHash), [address]);
  }
  for (const [hash, value] of immutable) {
    const found = await node.fetch(hash, null);
    assert.equal(found.outcome === "found" && text(found.value.bytes), value);
  }
  const found = await node.fetch(targetOf(name.public_key, SALT), SALT);
  assert.deepEqual(
    found.outcome === "found" && [text(found.value.bytes), found.value.seq],
    [value, seq],
  );
}

async function knows(node: LocalNode, { nodeId, address }: Contact): Promise<boolean> {
  return (await node.peers()).peers.some((peer) =>
    peer.node_id === nodeId && peer.address === address
  );
}

async function isKnown(
  peers: PeerProcess,
  { node }: StartedNode,
  { nodeId, address }: Contact,
): Promise<boolean> {
  const table = await peers.ask<{ nodes: Contact[] }>("table", { node });
  return table.nodes.some((contact) => contact.nodeId === nodeId && contact.address === address);
}

function stored(outcome: StoreOutcome): StoreReport {
  assert.equal(outcome.outcome, "stored", JSON.stringify(outcome));
  return (outcome as Extract<StoreOutcome, { outcome: "stored" }>).report;
}

/** Versions of an item. dmnode doesn't have its private key. */
function ownersItem(seed: string) {
  return {
    hash: targetOf(publicKeyOf(seed), SALT),
    item: (seq: number, value: string): SignedItem => ({
      publicKey: Buffer.from(publicKeyOf(seed), "hex"),
      signature: Buffer.from(signItem(seed, SALT, seq, value), "hex"),
      seq,
      salt: bytes(SALT),
      value: bytes(value),
      cas: null,
    }),
  };
}

function targetOf(publicKey: string, salt: string): string {
  return createHash("sha1").update(Buffer.from(publicKey, "hex")).update(salt).digest("hex");
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
