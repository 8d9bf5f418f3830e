// Nodes that claim to hold an item without having it.

import assert from "node:assert/strict";
import {
  immutableItem,
  type Item,
  mutableTarget,
  signedBytes,
} from "../../../src/dht/items/item.ts";
import type { ReplicasResult } from "../../../src/dht/items/item_operations.ts";
import { PROOF_BYTES, proofOf } from "../../../src/dht/items/proof.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { Id } from "../../../src/krpc/id.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { decodeAny, encode, id, latin1, text, type Value } from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000, HOUR = 60 * MINUTE;
const K = 8;
const ITEM = immutableItem(itemCrypto, bencodeBytes(latin1("a value")));
const TOKEN = new Uint8Array(8);

/** A node right beside an item's target, which acknowledges each put and answers each `get` with `claim`. */
class Liar extends Stranger {
  readonly id: Id;
  puts = 0;

  constructor(network: VirtualNetwork, item: Item, claim: { [key: string]: Value }) {
    super(network, "10.9.9.1:1");
    this.id = item.target.flip(150);
    this.answer = (packet) => {
      const { t, y, q } = decodeAny(packet);
      if (text(y) !== "q") return undefined;
      const method = text(q), own = { id: this.id.toBytes() };
      if (method === "put") this.puts++;
      const r = method === "get" ? { ...own, token: TOKEN, ...claim } : own;
      return encode({ t, y: "r", r });
    };
  }
}

/** A network in which one node has stored the item, and all know a liar. */
function withLiar(claim: { [key: string]: Value }, item: Item = ITEM) {
  const { target, signed } = item;
  const network = new VirtualNetwork();
  const nodes = network.addJoined(5, { k: K, healthCheckIntervalMs: 10 * MINUTE });
  const liar = new Liar(network, item, claim);
  for (const { node } of nodes) node.ping(liar.at, network.now, () => {});
  network.run(1_000);
  network.complete((now, done) =>
    nodes[0].node.items.put({ target, salt: signed?.salt, make: () => item }, now, done)
  );
  const faults = ({ node }: VirtualNode) => node.tables.find(liar.id)!.faults;
  const replicas = (asker: VirtualNode) =>
    network.complete<ReplicasResult>((now, done) =>
      asker.node.items.replicas({ target }, now, done)
    ).replicas;
  return { network, nodes, liar, faults, replicas };
}

Deno.test("a proof depends on the challenge, the holder and the value", () => {
  const given = { challenge: new Uint8Array(8), holder: id("01"), value: latin1("3:abc") };
  const proofs = [
    given,
    { ...given, challenge: new Uint8Array(8).fill(1) },
    { ...given, holder: id("02") },
    { ...given, value: latin1("3:abd") },
  ].map((changed) => proofOf(itemCrypto, changed));
  assert.ok(proofs.every(({ length }) => length === PROOF_BYTES));
  assert.equal(new Set(proofs.map(String)).size, proofs.length);
});

Deno.test("replicas() does not count a node that returns another value, and counts a fault against it", () => {
  const { nodes, faults, replicas } = withLiar({ v: "another value" });
  const before = faults(nodes[0]);
  assert.equal(replicas(nodes[0]).length, nodes.length);
  assert.ok(faults(nodes[0]) > before);
});

Deno.test("replicas() does not count a node that only says how old its copy is, and counts a fault against it", () => {
  const { nodes, faults, replicas } = withLiar({ sa: 0 });
  const before = faults(nodes[1]);
  assert.equal(replicas(nodes[1]).length, nodes.length);
  assert.ok(faults(nodes[1]) > before);
});

Deno.test("a holder sends a copy to a node that claims to hold the item but does not prove it", () => {
  const claims: { [key: string]: Value }[] = [{ sa: 0 }, {
    sa: 0,
    pf: new Uint8Array(PROOF_BYTES),
  }];
  for (const claim of claims) {
    const { network, nodes, liar, faults } = withLiar(claim);
    assert.equal(liar.puts, 1, "the put of the owner");
    network.run(2 * HOUR);
    assert.ok(liar.puts > 1);
    assert.ok(nodes.some((node) => faults(node) > 0.9));
  }
});

Deno.test("a holder sends a copy to a node with an older version, and counts no fault against it", () => {
  const owner = new Identity(new Uint8Array(32).fill(7)), salt = new Uint8Array(0);
  const { publicKey } = owner, target = mutableTarget(itemCrypto, publicKey, salt);
  const version = (seq: number, value: string): Item => {
    const bytes = bencodeBytes(latin1(value)),
      signature = owner.sign(signedBytes(salt, seq, bytes));
    return { target, value: bytes, signed: { publicKey, signature, salt, seq } };
  };
  const { signature } = version(1, "older").signed!;
  const older = { k: publicKey, sa: 0, seq: 1, sig: signature, v: "older" };
  const { network, nodes, liar: laggard, faults } = withLiar(older, version(2, "newer"));
  assert.equal(laggard.puts, 1, "the put of the owner");
  network.run(2 * HOUR);
  assert.ok(laggard.puts > 1);
  for (const node of nodes) assert.equal(faults(node), 0);
});

Deno.test("a holder sends no copy to nodes that prove that they hold the item", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(5, { k: K, healthCheckIntervalMs: 10 * MINUTE });
  network.complete((now, done) =>
    nodes[0].node.items.put({ target: ITEM.target, make: () => ITEM }, now, done)
  );
  network.run(3 * HOUR);
  const counts = nodes.map(({ node }) => node.replication);
  assert.ok(counts.some(({ completed }) => completed > 0));
  assert.ok(counts.every(({ copies }) => copies === 0));
  for (const { node } of nodes) {
    for (const { faults } of node.tables.contacts()) assert.equal(faults, 0);
  }
});
