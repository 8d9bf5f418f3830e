// Two values that an owner signed with the same seq: the same one wins everywhere, also after a partition.

import assert from "node:assert/strict";
import fc from "fast-check";
import { newestHeld } from "../../../src/dht/items/held.ts";
import {
  compareVersions,
  type Item,
  mutableTarget,
  refusal,
  signedBytes,
} from "../../../src/dht/items/item.ts";
import type { GetResult, PutResult } from "../../../src/dht/items/item_operations.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import type { Seq } from "../../../src/krpc/seq.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { latin1, text } from "../../packets.ts";
import { VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000;
const OWNER = new Identity(new Uint8Array(32).fill(7));
const NO_SALT = new Uint8Array(0);

function signed(value: string, seq: Seq): Item {
  const bytes = bencodeBytes(latin1(value)), { publicKey } = OWNER;
  const signature = OWNER.sign(signedBytes(NO_SALT, seq, bytes));
  return {
    target: mutableTarget(itemCrypto, publicKey, NO_SALT),
    value: bytes,
    signed: { publicKey, signature, salt: NO_SALT, seq },
  };
}

const { target: TARGET } = signed("", 1);

function publish(network: VirtualNetwork, { node }: VirtualNode, item: Item): PutResult {
  const result = network.complete<PutResult>((now, done) =>
    node.items.put({ target: TARGET, salt: NO_SALT, isOwn: true, make: () => item }, now, done)
  );
  node.replicator.keepPublished({ item, replicas: result.stored.length }, network.now);
  return result;
}

const read = (network: VirtualNetwork, { node }: VirtualNode) =>
  valueOf(
    network.complete<GetResult>((now, done) =>
      node.items.get({ target: TARGET, salt: NO_SALT }, now, done)
    ).item,
  );

const heldBy = (network: VirtualNetwork, node: VirtualNode) =>
  valueOf(newestHeld(node, TARGET, network.now)?.item);

const valueOf = (item: Item | undefined) => item && text(item.value);

/** Drops all packets between the two groups. */
function split(network: VirtualNetwork, left: readonly VirtualNode[]): void {
  const isLeft = (host: string) => left.some(({ endpoint }) => endpoint.host === host);
  network.link = (datagram, from, to) =>
    isLeft(from.host) === isLeft(to.host) ? datagram : undefined;
}

function heal(network: VirtualNetwork): void {
  network.link = (datagram) => datagram;
}

/** Lets time pass until a condition holds, at most for `minutes`. */
function runUntil(network: VirtualNetwork, holds: () => boolean, minutes: number): void {
  const end = network.now + minutes * MINUTE;
  while (!holds()) {
    assert.ok(network.now < end, "in vain");
    network.run(5_000);
  }
}

Deno.test("versions have one order: by seq, then by the bytes of the bencoded value", () => {
  const newest = [
    signed("a", 1),
    signed("b", 1),
    signed("aa", 1),
    signed("", 2),
    signed("a", 2n ** 60n),
  ];
  for (const [i, x] of newest.entries()) {
    for (const [j, y] of newest.entries()) {
      assert.equal(Math.sign(compareVersions(x, y)), Math.sign(i - j), `${i} ${j}`);
    }
  }
});

Deno.test("every node ends with the same version, in whatever order the versions arrive", () => {
  const versions = ["a", "b", "ab", "b"].flatMap((
    v,
  ) => [signed(v, 1), signed(v, 2), signed(v, 2n ** 53n)]);
  const orders = fc.shuffledSubarray(versions, { minLength: versions.length });
  const [expected] = versions.toSorted((x, y) => compareVersions(y, x));
  fc.assert(fc.property(orders, (order) => {
    let held: Item | undefined;
    for (const next of order) if (refusal(held, next, undefined) === undefined) held = next;
    assert.equal(compareVersions(held!, expected), 0);
  }));
});

Deno.test("a greater value with the same seq is accepted, a lesser one is 302, and cas still decides first", () => {
  const [lesser, greater] = [signed("a", 5), signed("b", 5)];
  assert.equal(refusal(lesser, greater, undefined), undefined);
  assert.equal(refusal(lesser, greater, 5), undefined);
  assert.equal(refusal(lesser, greater, 4)?.code, 301);
  assert.deepEqual(refusal(greater, lesser, undefined), {
    code: 302,
    text: "a greater value has seq 5",
  });
});

/** A health check finds the others, repairs start within two minutes, and we look for due repairs once a minute. */
const ROUND_MINUTES = 1 + 2 + 1.25;

for (const [count, k] of [[3, 4], [3, 20], [10, 4], [10, 20]]) {
  for (const minutes of [5, 90]) {
    Deno.test(`after a partition of ${minutes} min, ${count} nodes with k=${k} settle on one value in one round`, () => {
      const network = new VirtualNetwork(10, 2);
      const nodes = network.addJoined(count, { k });
      const left = nodes.slice(0, Math.floor(count / 2)), right = nodes.slice(left.length);
      const [loser, winner] = [left[0], right[0]];
      publish(network, loser, signed("before", 4));
      network.run(2 * MINUTE);
      split(network, left);
      network.run(MINUTE);
      publish(network, loser, signed("left", 5));
      publish(network, winner, signed("right", 5));
      network.run(minutes * MINUTE);
      for (const node of left) assert.equal(read(network, node), "4:left");
      for (const node of right) assert.equal(read(network, node), "5:right");
      heal(network);
      // After a long partition, the halves have forgotten each other, and must meet first.
      const others = (node: VirtualNode) => left.includes(node) ? right : left;
      const haveMet = () =>
        nodes.every((one) =>
          others(one).some(({ node: { id } }) => one.node.tables.find(id)?.isGood(network.now))
        );
      runUntil(network, haveMet, 30);
      const areOne = () =>
        nodes.every((one) => [undefined, "5:right"].includes(heldBy(network, one)));
      runUntil(network, areOne, ROUND_MINUTES);
      for (const node of nodes) assert.equal(read(network, node), "5:right");
      const adopted = loser.events.flatMap((event) => event.type === "data.adopt" ? [event] : []);
      assert.deepEqual(adopted.map(({ item, former }) => [valueOf(item), valueOf(former)]), [[
        "5:right",
        "4:left",
      ]]);
      assert.equal(valueOf(loser.published.get(TARGET)?.item), "5:right");
      assert.ok(winner.events.every(({ type }) => type !== "data.adopt"));
    });
  }
}
