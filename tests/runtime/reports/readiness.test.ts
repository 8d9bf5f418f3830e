// Tests when a node counts as ready, and which probes it sends to find out.

import assert from "node:assert/strict";
import { Contact } from "../../../src/dht/routing/contact.ts";
import { Flow } from "../../../src/dht/traffic.ts";
import {
  CHECK_EVERY_MS,
  type ProbedNode,
  ReadinessProbe,
} from "../../../src/runtime/reports/readiness.ts";
import { endpoint, id } from "../../packets.ts";

/** A node with its own clock, whose peers answer as the test decides. */
class Fake implements ProbedNode {
  now = 1_000_000;
  readonly traffic = { in: new Flow(), out: new Flow(), dropped: {} };
  readonly table: Contact[] = [];
  readonly pinged: string[] = [];
  readonly told: string[] = [];
  /** The number of offers in the answers to the next searches. Undefined if nobody answers. */
  offers: number | undefined = 3;
  searches = 0;
  isFirst = false;
  isCutOff = false;
  /** The time that answers take. */
  delayMs = 0;
  #pongs: { readonly at: number; readonly index: number }[] = [];
  readonly dead = new Set<number>();
  readonly probe = new ReadinessProbe(this);

  isForeign = false;

  contacts = () => this.table;
  isCheckedOften = () => !this.isForeign;
  standing = () => ({ isFirst: this.isFirst, reason: this.isFirst ? "first" : "joining" });
  tell = (change: string, reason: string) => void this.told.push(`${change}: ${reason}`);

  add(count: number): void {
    for (let i = 0; i < count; i++) {
      const n = this.table.length;
      this.table.push(new Contact(id(`${10 + n}`), endpoint(`127.0.0.1:${1000 + n}`), this.now));
    }
  }

  /** Makes a contact answer. */
  answer(index = 0): void {
    this.table[index].answered(this.now, 5);
    this.traffic.in.count("ping", "response", 50);
  }

  ping(to: { toString(): string }): void {
    this.pinged.push(`${to}`);
    this.traffic.out.count("ping", "query", 60);
    const index = this.table.findIndex((contact) => `${contact.endpoint}` === `${to}`);
    if (this.isCutOff || index < 0 || this.dead.has(index)) return;
    if (this.delayMs === 0) this.answer(index);
    else this.#pongs.push({ at: this.now + this.delayMs, index });
  }

  seekOffers(done: (answered: number, offers: number) => void): void {
    this.searches++;
    if (this.offers === undefined || this.isCutOff) done(0, 0);
    else done(Math.max(3, this.offers), this.offers);
  }

  pass(seconds: number, each = () => {}): void {
    for (let s = 0; s < seconds; s++) {
      this.now += CHECK_EVERY_MS;
      each();
      for (const { at, index } of this.#pongs) if (at <= this.now) this.answer(index);
      this.#pongs = this.#pongs.filter(({ at }) => at > this.now);
      this.probe.check(this.now);
    }
  }

  get state() {
    return this.probe.state(this.now);
  }
}

/** Returns a node with this number of contacts, one of which has just answered. */
function joined(contacts: number): Fake {
  const fake = new Fake();
  fake.add(contacts);
  fake.answer();
  fake.pass(1);
  return fake;
}

Deno.test("the first node of a network is ready at once, and any other when a peer offers to store values", () => {
  const first = new Fake();
  first.isFirst = true;
  first.pass(100);
  assert.deepEqual(first.state, { ready: true, reason: "first" });
  assert.deepEqual([first.searches, first.pinged.length], [0, 0]);

  const other = new Fake();
  other.pass(5);
  assert.deepEqual(other.state, { ready: false, reason: "joining" });
  other.offers = 0;
  other.add(3);
  other.answer();
  other.pass(1);
  assert.match(other.state.reason, /none of 3 that were asked offers to store a value/);
  other.offers = 1;
  other.pass(21, () => other.answer());
  assert.deepEqual(other.state, { ready: true, reason: "3 peers answer" });
  assert.deepEqual(other.told, ["gained: 3 peers answer"]);
});

Deno.test("if other traffic proves readiness, the node only asks for an offer every ten minutes", () => {
  const busy = joined(8);
  busy.pass(3600, () => busy.answer(busy.now / 1000 % 8));
  assert.ok(busy.state.ready);
  assert.deepEqual(busy.pinged, []);
  assert.equal(busy.searches, 6 + 1);

  const storing = joined(8);
  storing.pass(3600, () => storing.traffic.in.count("put", "response", 50));
  assert.equal(storing.searches, 1, "a peer that stores a value counts as having offered it");
});

Deno.test("without traffic, two peers are pinged every 20 s", () => {
  const idle = joined(3);
  idle.pass(3600);
  assert.ok(idle.state.ready);
  assert.ok(idle.pinged.length <= 2 * 3600 / 20, `${idle.pinged.length} pings`);
});

Deno.test("without answers, the node is not ready after about 30 s, and names the time and the last peer", () => {
  const cut = joined(5);
  cut.isCutOff = true;
  cut.pass(29);
  assert.ok(cut.state.ready);
  cut.pass(3);
  assert.match(cut.state.reason, /^no peer has answered for 3\d s; the last answer came from 10/);
  assert.match(cut.state.reason, /127\.0\.0\.1:1000 \(5 peers still in the table\)/);
  cut.pass(30);
  assert.equal(new Set(cut.pinged).size, 5, "each gets its turn");
  assert.ok(cut.pinged.length <= 2 * 43 / 5 + 2, `${cut.pinged.length} pings`);
  assert.deepEqual(cut.told.map((line) => line.slice(0, 4)), ["gain", "lost"]);
  cut.pass(600);
  assert.ok(cut.told.length <= 13, "one line a minute");
  cut.isCutOff = false;
  cut.pass(6);
  assert.ok(cut.state.ready);
  assert.match(cut.told.at(-1)!, /^regained/);
});

Deno.test("reading the state between two checks reports a change, and considers the latest answer", () => {
  const cut = joined(5);
  cut.isCutOff = true;
  cut.pass(29);
  cut.now += CHECK_EVERY_MS;
  assert.equal(cut.state.ready, false);
  assert.match(cut.told.at(-1)!, /^lost/);
  cut.answer();
  assert.ok(cut.state.ready);
  assert.match(cut.told.at(-1)!, /^regained/);
});

Deno.test("if the table is empty, remembered peers are pinged", () => {
  const lost = joined(4);
  lost.pass(15, () => lost.answer(1));
  const [kept] = lost.table;
  lost.isCutOff = true;
  lost.table.length = 0;
  lost.pass(1);
  assert.match(lost.state.reason, /all were dropped/);
  lost.pass(60);
  assert.ok(lost.pinged.includes(`${kept.endpoint}`));
});

Deno.test("one peer that answers is enough, even if many don't", () => {
  const few = joined(20);
  few.isCutOff = true;
  few.pass(300, () => few.now % 19_000 === 0 && few.answer(7));
  assert.ok(few.state.ready, few.state.reason);
});

Deno.test("a node is not unready after a jump of the clock, before it has pinged its peers", () => {
  const slept = joined(5);
  slept.now += 8 * 3_600_000;
  assert.ok(slept.state.ready);
  slept.pass(1);
  assert.ok(slept.state.ready);
  slept.pass(1);
  assert.ok(slept.pinged.length > 0 && slept.state.ready);
});

Deno.test("queries and answers are counted over five minutes", () => {
  const counted = joined(5);
  counted.pass(1000, () => {
    counted.answer();
    counted.traffic.out.count("ping", "query", 60);
    counted.traffic.out.count("ping", "query", 60);
  });
  const { queries, answers, over_s } = counted.probe.answers;
  assert.equal(over_s, 300);
  assert.deepEqual([queries, answers], [600, 300]);
});

Deno.test("answers are not counted without their queries, even if these were sent before the first count", () => {
  const young = new Fake();
  young.add(5);
  for (let i = 0; i < 5; i++) young.traffic.out.count("ping", "query", 60);
  young.pass(1);
  for (let i = 0; i < 5; i++) young.answer(i);
  young.isCutOff = true;
  young.pass(30);
  const { queries, answers } = young.probe.answers;
  assert.equal(answers, 5);
  assert.ok(queries > answers, `${queries} queries, of which the last had no answer`);
});

Deno.test("nodes of other implementations are probed only once one of them misses a query", () => {
  const fake = joined(3);
  fake.isForeign = true;
  fake.pass(600);
  assert.deepEqual(fake.pinged, []);
  assert.ok(fake.state.ready);
  fake.isCutOff = true;
  fake.table[1].missed(fake.now);
  fake.pass(60);
  const probed = [...new Set(fake.pinged)];
  assert.equal(probed[0], `${fake.table[1].endpoint}`);
  assert.equal(probed.length, 3, "if nobody answers, all are probed");
  assert.ok(!fake.state.ready);
});

Deno.test("a node with many contacts of other implementations stays ready when one of them is gone", () => {
  const fake = joined(5);
  fake.isForeign = true;
  fake.delayMs = 500;
  fake.pass(600);
  fake.dead.add(1);
  fake.table[1].missed(fake.now);
  fake.pass(600);
  assert.ok(fake.state.ready);
  assert.deepEqual(fake.told.map((line) => line.split(":")[0]), ["gained"]);
});

Deno.test("a search for offers is repeated less and less often while nobody offers to store values", () => {
  const fake = joined(3);
  fake.offers = 0;
  const before = fake.searches;
  fake.pass(3600, () => fake.answer());
  assert.ok(fake.searches - before <= 12, `${fake.searches - before} searches in an hour`);
});
