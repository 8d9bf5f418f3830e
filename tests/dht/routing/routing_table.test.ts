// The routing table: which buckets split, which contacts are admitted, and which are closest.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Contact } from "../../../src/dht/routing/contact.ts";
import { maxSimilar, PER_SUBNET } from "../../../src/dht/routing/diversity.ts";
import { RoutingTable } from "../../../src/dht/routing/routing_table.ts";
import { SubnetLimit } from "../../../src/dht/routing/subnet_limit.ts";
import { compareDistance, Id, sharedPrefix } from "../../../src/krpc/id.ts";
import { endpoint, id } from "../../packets.ts";
import { randomSource } from "../virtual_network.ts";

const OWN = id("0");
const ANYWHERE = endpoint("10.2.3.4:6881");

/** An id that shares exactly `bits` bits with OWN. */
function at(bits: number, random: (length: number) => Uint8Array): Id {
  return OWN.flip(bits).withSuffix(bits + 1, Id.read(random(20)));
}

function contact(of: Id, misses = 0): Contact {
  const made = new Contact(of, ANYWHERE, 0);
  made.answered(0, 10);
  for (let i = 0; i < misses; i++) made.missed(0);
  return made;
}

const all = () => true;

Deno.test("BEP 5: only the bucket that holds our own id splits", () => {
  const random = randomSource(1);
  const table = new RoutingTable(OWN, { k: 8 }, 0);
  for (let i = 0; i < 100; i++) table.admit(contact(at(0, random)), 0);
  assert.deepEqual(
    [table.size, table.bucketCount],
    [8, 2],
    "the far half holds 8 and never splits",
  );
  for (let i = 0; i < 100; i++) table.admit(contact(at(1, random)), 0);
  assert.deepEqual([table.size, table.bucketCount], [16, 3]);
  for (let i = 0; i < 8; i++) table.admit(contact(at(40, random)), 0);
  assert.deepEqual([table.size, table.bucketCount], [24, 3], "nothing splits before it has to");
  table.admit(contact(at(41, random)), 0);
  assert.deepEqual([table.size, table.bucketCount], [25, 42]);
});

Deno.test("each bucket holds at most k contacts, all with the bucket's prefix", () => {
  const random = randomSource(2);
  for (const k of [1, 8, 20]) {
    const table = new RoutingTable(OWN, { k }, 0);
    for (let i = 0; i < 2_000; i++) table.admit(contact(Id.read(random(20))), 0);
    const counts = new Map<number, number>();
    for (const { id } of table.contacts()) {
      const bucket = Math.min(sharedPrefix(OWN, id), table.bucketCount - 1);
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
    }
    assert.ok([...counts.values()].every((count) => count <= k));
    assert.equal([...counts.values()].reduce((x, y) => x + y), table.size);
  }
});

Deno.test("ids that differ from ours only in the last bits have buckets too", () => {
  const table = new RoutingTable(OWN, { k: 1 }, 0);
  for (let bits = 159; bits >= 0; bits--) table.admit(contact(OWN.flip(bits)), 0);
  assert.equal(table.size, 160);
  for (let bits = 0; bits < 160; bits++) assert.ok(table.find(OWN.flip(bits)));
  assert.ok(table.bucketCount <= 160);
});

Deno.test("our own id is never admitted", () => {
  const table = new RoutingTable(OWN, { k: 8 }, 0);
  assert.equal(table.admit(contact(OWN), 0).admission, "refused");
  assert.equal(table.size, 0);
});

/** A table with k = 2 whose far bucket is full. */
function full(...misses: [number, number]): { table: RoutingTable; members: Contact[] } {
  const table = new RoutingTable(OWN, { k: 2 }, 0);
  const members = ["80", "90"].map((prefix, i) => contact(id(prefix), misses[i]));
  for (const member of members) table.admit(member, 0);
  for (const near of ["10", "11"]) table.admit(contact(id(near)), 0);
  return { table, members };
}

Deno.test("BEP 5: if a bucket is full of good contacts, a newcomer waits", () => {
  const { table, members } = full(0, 1);
  const { admission, replaced } = table.admit(contact(id("a0")), 1);
  assert.deepEqual([admission, replaced], ["waiting", undefined]);
  assert.equal(table.find(id("a0")), undefined);
  assert.ok(members.every((member) => table.find(member.id) === member));
  assert.equal(table.hasRoom(id("b0")), false);
  assert.equal(table.hasRoom(id("12")), true);
});

Deno.test("BEP 5: in a full bucket, a contact that answers replaces a bad one", () => {
  const { table, members } = full(0, 2);
  const { admission, replaced } = table.admit(contact(id("a0")), 1);
  assert.equal(admission, "added");
  assert.equal(replaced, members[1]);
  assert.equal(table.find(members[1].id), undefined);
  assert.equal(table.size, 4);
});

Deno.test("a free place goes to the replacement that answered last", () => {
  const { table, members } = full(0, 0);
  const digits = "0123456789abcdef";
  // Eight replacements are kept: a1 answered again, so a2 was the oldest.
  const waiting = ["a1", "a2", ...Array.from({ length: 7 }, (_, i) => `b${digits[i]}`), "a1"];
  for (const prefix of waiting) table.admit(contact(id(prefix)), 1);
  assert.equal(table.waiting(id("a2")), undefined);
  assert.ok(table.remove(members[0], 2)?.id.equals(id("a1")));
  assert.ok(table.find(id("a1")));
  for (let i = 6; i >= 0; i--) {
    const last = table.find(id("a1")) ?? table.find(id(`b${digits[i + 1]}`));
    assert.ok(table.remove(last!, 2)?.id.equals(id(`b${digits[i]}`)), `b${i}`);
  }
  assert.equal(table.remove(table.find(id("b0"))!, 2), undefined);
  assert.equal(table.size, 3);
  assert.equal(table.remove(members[0], 3), undefined, "a contact that is gone can't be replaced");
  assert.equal(table.size, 3);
});

Deno.test("a contact that gets a place no longer waits", () => {
  const { table, members } = full(0, 0);
  table.admit(contact(id("a0")), 1);
  members[0].missed(2);
  members[0].missed(4);
  assert.equal(table.admit(contact(id("a0")), 5).replaced, members[0]);
  assert.equal(table.remove(members[1], 6), undefined);
  assert.equal([...table.contacts()].filter((c) => c.id.equals(id("a0"))).length, 1);
});

Deno.test("the table behaves like a model under any order of admissions and removals", () => {
  const step = fc.record({ n: fc.nat(60), action: fc.constantFrom("admit", "remove", "miss") });
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const table = new RoutingTable(OWN, { k: 2 }, 0);
    steps.forEach(({ n, action }, now) => {
      const of = id((n * 4 + 1).toString(16).padStart(2, "0"));
      const known = table.find(of);
      if (action === "admit" && known === undefined) table.admit(contact(of), now);
      else if (action === "remove" && known !== undefined) table.remove(known, now);
      else if (action === "miss") known?.missed(now);
      const listed = [...table.contacts()];
      assert.equal(listed.length, table.size);
      assert.equal(
        new Set(listed.map((c) => `${c.id}`)).size,
        table.size,
        "no contact occurs twice",
      );
      for (const c of listed) assert.equal(table.find(c.id), c);
      const everyone = table.closest(of, 1000, all);
      assert.equal(everyone.length, table.size);
    });
  }));
});

Deno.test("closest() agrees with a search of the whole table", () => {
  const options = fc.record({
    seed: fc.integer(),
    size: fc.nat(400),
    k: fc.constantFrom(1, 3, 8, 20),
    count: fc.nat(40),
    prefix: fc.nat(30),
    share: fc.constantFrom(1, 0.5, 0.05, 0),
  });
  fc.assert(fc.property(options, ({ seed, size, k, count, prefix, share }) => {
    const random = randomSource(seed);
    const own = Id.read(random(20));
    const table = new RoutingTable(own, { k }, 0);
    for (let i = 0; i < size; i++) {
      // A few are close to us, and most are far.
      table.admit(contact(own.withSuffix(i % 3 === 0 ? i % 25 : 0, Id.read(random(20)))), 0);
    }
    const accept = ({ id }: Contact) => (id.e & 255) < 256 * share;
    for (const target of [own, own.withSuffix(prefix, Id.read(random(20))), Id.read(random(20))]) {
      const truth = [...table.contacts()].filter(accept)
        .sort((x, y) => compareDistance(x.id, y.id, target)).slice(0, count);
      const found = table.closest(target, count, accept);
      assert.deepEqual(found.map((c) => `${c.id}`), truth.map((c) => `${c.id}`));
    }
  }));
});

Deno.test("a negative count yields no contacts", () => {
  const { table } = full(0, 0);
  assert.deepEqual(table.closest(OWN, -1, all), []);
});

Deno.test("a bucket without changes becomes stale, and a full one does so later", () => {
  const table = new RoutingTable(OWN, { k: 2 }, 0);
  assert.deepEqual(table.staleBuckets(0, -1), [0]);
  for (const prefix of ["80", "90", "40"]) table.admit(contact(id(prefix)), 100);
  assert.deepEqual(table.staleBuckets(99, 99), []);
  assert.deepEqual(table.staleBuckets(100, 100), [0, 1]);
  assert.deepEqual(table.staleBuckets(100, 50), [1], "the first is full");
  table.touch(id("ff"), 200);
  assert.deepEqual(table.staleBuckets(150, 150), [1]);
});

Deno.test("in a full bucket, a clearly nearer contact replaces the slowest one, which then waits", () => {
  const random = randomSource(9);
  const table = new RoutingTable(OWN, { k: 4 }, 0);
  const timed = (bits: number, rtt: number) => {
    const made = new Contact(at(bits, random), ANYWHERE, 0);
    made.answered(0, rtt);
    return made;
  };
  const slow = timed(0, 200);
  for (const contact of [timed(0, 100), slow, timed(0, 120), timed(0, 30)]) table.admit(contact, 0);
  for (let i = 0; i < 5; i++) table.admit(timed(1, 10), 0); // splits: the far half is no longer our own
  assert.deepEqual(
    table.admit(timed(0, 180), 0),
    { admission: "waiting" },
    "less than a fifth nearer",
  );
  const near = timed(0, 20);
  assert.deepEqual(table.admit(near, 0), { admission: "added", replaced: slow });
  assert.equal(table.find(near.id), near);
  assert.equal(
    table.remove(near, 0),
    slow,
    "the latest replacement is the contact that was replaced",
  );
});

Deno.test("our closest neighbours are never replaced by nearer contacts", () => {
  const random = randomSource(10);
  const table = new RoutingTable(OWN, { k: 2 }, 0);
  const last: Contact[] = [];
  for (let bits = 150; bits < 160; bits++) {
    const made = new Contact(at(bits, random), ANYWHERE, 0);
    made.answered(0, 500 - bits);
    last.push(made);
    table.admit(made, 0);
  }
  assert.ok(last.every((contact) => table.find(contact.id) === contact));
});

/** A contact that answered after `rtt`. */
function answered(of: Id, rtt: number, at = ANYWHERE): Contact {
  const made = new Contact(of, at, 0);
  made.answered(0, rtt);
  return made;
}

Deno.test("among equally near contacts, mutual ones are preferred", () => {
  const table = new RoutingTable(OWN, { k: 2 }, 0);
  const [one, other] = ["80", "90"].map((prefix) => answered(id(prefix), 20));
  one.keepsUs = true;
  other.keepsUs = false;
  for (const contact of [one, other]) table.admit(contact, 0);
  for (const near of ["10", "11"]) table.admit(answered(id(near), 20), 0);
  const stranger = answered(id("a0"), 20);
  assert.equal(table.admit(stranger, 1).admission, "waiting", "it does not keep us either");
  const mutual = answered(id("b0"), 20);
  mutual.keepsUs = true;
  const { admission, replaced } = table.admit(mutual, 2);
  assert.deepEqual([admission, replaced], ["added", other]);
  assert.ok(table.find(one.id) && table.find(mutual.id));
});

Deno.test("a contact that leaves queries unanswered is replaced by one that is not nearer", () => {
  const table = new RoutingTable(OWN, { k: 1 }, 0);
  const lossy = answered(id("80"), 20);
  for (let i = 0; i < 8; i++) lossy.missed(i), lossy.answered(i, 20);
  table.admit(lossy, 0);
  table.admit(answered(id("10"), 20), 0);
  assert.deepEqual(table.admit(answered(id("a0"), 25), 1).replaced, lossy);
});

Deno.test("a node that we were told about is a prospect while it seems nearer than a contact of its bucket", () => {
  const table = new RoutingTable(OWN, { k: 1 }, 0);
  table.admit(answered(id("80"), 200), 0);
  table.admit(answered(id("10"), 20), 0);
  const at = endpoint("10.9.9.9:1");
  assert.equal(table.consider(id("80"), at, 10), false, "a contact is no prospect");
  assert.ok(table.consider(id("90"), at, 150));
  assert.ok(table.consider(id("a0"), at, 50));
  assert.equal(table.consider(id("b0"), at, 60), false, "the nearest is kept");
  const taken = table.takeProspect(0)!;
  assert.deepEqual([taken.prospect.id, taken.bucket], [id("a0"), 0]);
  assert.equal(table.takeProspect(0), undefined);
  assert.ok(table.consider(id("c0"), at, 190));
  assert.equal(table.takeProspect(0), undefined, "not much nearer");
});

Deno.test("a bucket accepts one contact per address and two per /24, except in local networks", () => {
  const table = new RoutingTable(OWN, { k: 8 }, 0);
  const admit = (prefix: string, at: string) =>
    table.admit(answered(id(prefix), 20, endpoint(at)), 0).admission;
  assert.deepEqual(
    [
      admit("80", "1.2.3.4:1"),
      admit("90", "1.2.3.4:2"),
      admit("10", "1.2.3.4:3"),
      admit("a0", "1.2.3.5:1"),
      admit("b0", "1.2.3.6:1"),
      admit("c0", "1.2.4.6:1"),
      admit("d0", "10.0.0.1:1"),
      admit("d1", "10.0.0.1:2"),
      admit("d2", "127.0.0.1:1"),
      admit("d3", "127.0.0.1:2"),
    ],
    [
      "added",
      "refused",
      "refused",
      "added",
      "refused",
      "added",
      "added",
      "added",
      "added",
      "added",
    ],
  );
  const six = new RoutingTable(OWN, { k: 8 }, 0);
  const places = ["2a00::1", "2a00::2", "2a00::3", "2a00:0:0:1::1"].map((host, i) =>
    six.admit(answered(id(`8${i}`), 20, endpoint(`[${host}]:1`)), 0).admission
  );
  assert.deepEqual(places, ["added", "added", "refused", "added"]);
  const free = new RoutingTable(OWN, { k: 8, subnets: new SubnetLimit(0) }, 0);
  for (let i = 0; i < 5; i++) free.admit(answered(id(`8${i}`), 20, endpoint("1.2.3.4:1")), 0);
  assert.equal(free.size, 5, "0: no limit");
});

Deno.test("BEP 42: a contact with a valid id is preferred", () => {
  const table = new RoutingTable(OWN, { k: 1 }, 0);
  const unbound = answered(id("80"), 20, endpoint("1.2.3.4:1"));
  assert.equal(unbound.hasValidId, false);
  table.admit(unbound, 0);
  table.admit(answered(id("10"), 20), 0);
  const bound = answered(id("90"), 20);
  assert.deepEqual(table.admit(bound, 0).replaced, unbound);
});

Deno.test("Sybils around one key get few places in a bucket, except in local networks", () => {
  const K = 20, FREE = 10;
  for (const isLocal of [false, true]) {
    const random = randomSource(1), table = new RoutingTable(OWN, { k: K }, 0);
    const net = isLocal ? "10.0" : "1.0";
    const admit = (of: Id, host: number) =>
      table.admit(answered(of, 20, endpoint(`${net}.${host}.1:1`)), 0).admission === "added";
    for (let i = 0; i < K - FREE; i++) assert.ok(admit(at(1, random), i));
    for (let i = 0; i < K; i++) admit(at(5, random), 100 + i);
    const key = at(1, random);
    const sybils = Array.from({ length: 2 * K }, () => key.withSuffix(24, Id.read(random(20))));
    const admitted = sybils.filter((of, i) => admit(of, 200 + i)).length;
    assert.equal(admitted, isLocal ? FREE : maxSimilar(K));
  }
});

Deno.test("contacts of our own subnet take places that others don't need, and give them up", () => {
  const K = 8, random = randomSource(1), subnets = new SubnetLimit();
  subnets.setOwn(endpoint("1.2.3.1:1"));
  const table = new RoutingTable(OWN, { k: K, subnets }, 0);
  const node = (host: string) => ({ id: at(0, random), endpoint: endpoint(`${host}:1`) });
  const admit = (host: string) => {
    const { id, endpoint } = node(host);
    return table.admit(answered(id, 20, endpoint), 0);
  };
  for (let i = 2; i < 2 + K; i++) admit(`1.2.3.${i}`);
  assert.equal(table.size, K, `although PER_SUBNET is ${PER_SUBNET}`);
  const answer = { rtt: 40, isMutual: false };
  assert.equal(admit("1.2.3.98").admission, "waiting");
  assert.ok(!table.wouldAdmit(node("1.2.3.99"), answer, 0), "no place for one more of them");
  assert.ok(table.wouldAdmit(node("9.9.9.1"), answer, 0));
  const places = Array.from({ length: K }, (_, i) => admit(`9.9.${i}.1`).replaced);
  assert.equal(places.filter((replaced) => replaced !== undefined).length, K - PER_SUBNET);
});
