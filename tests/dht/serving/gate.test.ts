// The gate, which drops queries of strangers while a node can't keep up.

import assert from "node:assert/strict";
import { Gate } from "../../../src/dht/serving/gate.ts";
import { Random } from "../../../src/dht/random.ts";
import { encode, endpoint, id, query } from "../../packets.ts";
import { randomSource, Stranger, VirtualNetwork } from "../virtual_network.ts";

const PING = query("ping", id("a5c3"));
const CONTACT = endpoint("20.1.1.1:1"), PROVEN = endpoint("30.1.1.1:1");

/** A host that handles `capacity` packets a second. Dropping a packet costs a third of handling it. */
class Scene {
  readonly gate: Gate;
  now = 1_000_000;
  /** Packets that wait in the host's buffer, which holds 250. */
  #waiting: { from: string; done: (isServed: boolean) => void }[] = [];
  #spare = 0;

  constructor(readonly capacity: number) {
    this.gate = new Gate({
      isContact: (from) => from.equals(CONTACT),
      isProven: (from) => from.equals(PROVEN),
    }, new Random(randomSource(1)));
  }

  arrive(from: string, done: (isServed: boolean) => void): void {
    if (this.#waiting.length < 250) this.#waiting.push({ from, done });
    else done(false);
  }

  /** Handles packets for a millisecond. */
  run(): void {
    this.now++;
    this.#spare = Math.min(0, this.#spare) + this.capacity / 1000;
    while (this.#spare > 0) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.gate.note(0, this.now);
      const isServed = this.gate.isOpen ||
        this.gate.admits(PING, endpoint(next.from), this.now);
      this.#spare -= isServed ? 1 : 1 / 3;
      next.done(isServed);
    }
    this.gate.note(1000 * Math.max(0, this.#spare) / this.capacity, this.now);
  }
}

/** The shares of answered queries of a contact and of strangers, beside `flooders` that send `rate` a second in all. */
function shares(
  { capacity, rate, flooders }: { capacity: number; rate: number; flooders: number },
): { contact: number; strangers: number } {
  const scene = new Scene(capacity);
  const asked = { contact: 0, strangers: 0 }, served = { contact: 0, strangers: 0 };
  const ask = (kind: keyof typeof asked, from: string) => {
    asked[kind]++;
    scene.arrive(from, (isServed) => served[kind] += isServed ? 1 : 0);
  };
  const strangers = Array.from({ length: 1_000 }, (_, i) => `40.1.${i >> 8}.${i & 255}:1`);
  let flooded = 0;
  for (let ms = 0; ms < 20_000; ms++) {
    for (; flooded < ms * rate / 1000; flooded++) {
      const n = flooded % flooders;
      scene.arrive(`9.${n >> 16}.${(n >> 8) & 255}.${n & 255}:1`, () => {});
    }
    if (ms % 20 === 0) ask("contact", `${CONTACT}`);
    // Each of a thousand strangers asks every ten seconds.
    if (ms % 10 === 0) ask("strangers", strangers[(ms / 10) % strangers.length]);
    scene.run();
  }
  return {
    contact: served.contact / asked.contact,
    strangers: served.strangers / asked.strangers,
  };
}

Deno.test("at twice a node's capacity, contacts and modest strangers are still served", () => {
  const capacity = 20_000;
  const { contact, strangers } = shares({ capacity, rate: 2 * capacity, flooders: 10_000 });
  assert.ok(contact >= 0.9, `${contact} of the contact's queries`);
  assert.ok(strangers >= 0.6, `${strangers} of the strangers' queries`);
});

Deno.test("a node that keeps up serves everybody", () => {
  const capacity = 20_000;
  const { contact, strangers } = shares({ capacity, rate: 0.7 * capacity, flooders: 1_000 });
  assert.deepEqual([contact, strangers], [1, 1]);
});

/** A gate under the pressure of receives that never wait. */
function underPressure(): Scene {
  const scene = new Scene(1);
  for (let ms = 0; ms < 200; ms++) {
    scene.now++;
    for (let i = 0; i < 10; i++) scene.gate.note(0, scene.now);
  }
  assert.equal(scene.gate.isOpen, false);
  return scene;
}

/** How many of 100 queries in a second pass, if the pressure stays. */
function admitted(scene: Scene, packet: Uint8Array, from = endpoint("9.9.9.9:1")): number {
  let count = 0;
  for (let i = 0; i < 100; i++) {
    scene.now += 10;
    if (scene.gate.admits(packet, from, scene.now)) count++;
  }
  return count;
}

Deno.test("under pressure, contacts come first, then proven addresses, then strangers", () => {
  const scene = underPressure();
  const stranger = admitted(scene, PING);
  const proven = admitted(scene, PING, PROVEN);
  assert.equal(admitted(scene, PING, CONTACT), 100);
  assert.ok(0 < stranger && stranger < proven && proven < 100, `${stranger} and ${proven}`);
});

Deno.test("answers to our own queries pass the gate", () => {
  const scene = underPressure();
  assert.equal(admitted(scene, encode({ t: "aa", y: "r", r: { id: id("11").toBytes() } })), 100);
  assert.equal(admitted(scene, encode({ t: "aa", y: "e", e: [201, "no"] })), 100);
});

Deno.test("the gate opens once receives wait for packets again", () => {
  const scene = underPressure();
  for (let ms = 0; ms < 5_000; ms++) {
    scene.now++;
    scene.gate.note(1, scene.now);
  }
  assert.equal(scene.gate.isOpen, true);
});

Deno.test("under pressure, a node drops puts of strangers without checking their signatures", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const stranger = new Stranger(network, "10.9.9.9:1");
  const target = id("77").toBytes();
  const { token } = stranger.ask(query("get", id("80"), { target }), server.endpoint).r;
  const put = query("put", id("80"), { token: token.slice(), v: "x" });
  for (let ms = 0; ms < 200; ms++) {
    for (let i = 0; i < 10; i++) server.node.gate.note(0, network.now + ms);
  }
  network.run(200);
  assert.equal(stranger.ask(put, server.endpoint), undefined);
  assert.equal(server.node.traffic.dropped.overloaded, 1);
  for (let ms = 0; ms < 5_000; ms++) server.node.gate.note(1, network.now + ms);
  network.run(5_000);
  assert.ok(stranger.ask(put, server.endpoint).r);
});
