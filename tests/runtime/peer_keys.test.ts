// Tests how members of a private network learn each other's public keys, and how they drop one.

import assert from "node:assert/strict";
import { NetworkKey } from "../../src/config/network_key.ts";
import { loadConfig } from "../../src/config.ts";
import { Endpoint } from "../../src/krpc/endpoint.ts";
import { hex } from "../../src/krpc/hex.ts";
import { Id } from "../../src/krpc/id.ts";
import { Identity, verify } from "../../src/runtime/identity/crypto.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { PeerKeys, type PeerKeysOptions } from "../../src/runtime/peer_keys.ts";
import { until } from "./nodes.ts";

async function start(bootstrap: string, key?: NetworkKey): Promise<LocalNode> {
  const flags = { p2pPort: "0", bootstrap };
  const env = key === undefined ? undefined : { NETWORK_KEY: key.secretText() };
  return await LocalNode.start(loadConfig({ flags, env }), { persistent: false });
}

async function keyOfPeer(node: LocalNode, peer: LocalNode): Promise<string | null | undefined> {
  const { node_id: id } = await peer.stats(), { peers } = await node.peers();
  return peers.find(({ node_id }) => node_id === id)?.public_key;
}

Deno.test("peers of a private network show their proven keys, and a denied key is dropped", async () => {
  const key = NetworkKey.random(), first = await start("", key);
  const second = await start(first.address, key), third = await start(first.address, key);
  try {
    for (const peer of [second, third]) {
      const { public_key } = await peer.stats();
      await until(async () => await keyOfPeer(first, peer) === public_key);
    }
    const { public_key: denied } = await second.stats();
    first.deny([denied]);
    await until(async () => await keyOfPeer(first, second) === undefined);
    assert.notEqual(await keyOfPeer(first, third), undefined, "the others stay");
    await until(async () => (await first.stats()).traffic.dropped.denied > 0);
  } finally {
    await Promise.all([first, second, third].map((node) => node.close()));
  }
});

Deno.test("a denied key is dropped again if its node comes back with another id", async () => {
  const key = NetworkKey.random(), first = await start("", key);
  const dataDir = await Deno.makeTempDir({ prefix: "dmnode-keys-" });
  const ids = new Set<string>();
  try {
    for (let round = 1; round <= 2; round++) {
      const flags = { p2pPort: "0", bootstrap: first.address, dataDir };
      const config = loadConfig({ flags, env: { NETWORK_KEY: key.secretText() } });
      const node = await LocalNode.start(config, { persistent: true });
      try {
        const { node_id: id, public_key } = await node.stats();
        ids.add(id);
        first.deny([public_key]);
        const denied = async () => (await first.stats()).traffic.dropped.denied ?? 0;
        const before = await denied();
        await until(async () => await denied() > before);
        await until(async () => await keyOfPeer(first, node) === undefined);
      } finally {
        await node.close();
      }
      // Only the identity stays.
      for await (const { name } of Deno.readDir(dataDir)) {
        if (name.startsWith("dmnode.sqlite")) await Deno.remove(`${dataDir}/${name}`);
      }
    }
    assert.equal(ids.size, 2, "the id changed");
  } finally {
    await first.close();
    await Deno.remove(dataDir, { recursive: true });
  }
});

const CHALLENGE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const VICTIM = Id.from("11".repeat(20)), ASKER = Id.from("22".repeat(20));
const OWN = Endpoint.parse("192.0.2.1", 8000)!, RELAY = Endpoint.parse("192.0.2.66", 8000)!;

/** The keys of a node at OWN with one contact, which gives this answer to each challenge. */
function askerOf(
  answer: (challenge: Uint8Array) => ReturnType<PeerKeys["prove"]>,
  seenAs: Endpoint,
) {
  const contact = { id: VICTIM, endpoint: RELAY };
  const core = {
    node: {
      id: ASKER,
      tables: { contacts: () => [contact] },
      askIdentity: (
        _: unknown,
        challenge: Uint8Array,
        { done }: { done(answer: unknown): void },
      ) => {
        const proof = answer(challenge);
        done(proof && { ...proof, seenAs });
      },
    },
  };
  const keys = new PeerKeys({
    core: core as unknown as PeerKeysOptions["core"],
    identity: Identity.generate(),
    isOwn: (endpoint) => endpoint.equals(OWN),
    onProven: () => {},
  });
  keys.ask(0);
  return keys.keyOf(contact);
}

/** A node that proves its identity. */
function proverOf(identity = Identity.generate()) {
  const core = { node: { id: VICTIM } } as unknown as PeerKeysOptions["core"];
  const options = { core, identity, isOwn: () => false, onProven: () => {} };
  return { keys: new PeerKeys(options), key: hex(identity.publicKey) };
}

Deno.test("a forwarded answer of another node proves nothing", () => {
  const { keys, key } = proverOf();
  const direct = askerOf((challenge) => keys.prove(challenge, ASKER, { seenAs: OWN, now: 0 }), OWN);
  assert.equal(direct, key, "the node itself");
  // The node signs the endpoint from which the challenge came: that of the node that forwards it.
  const forward = (challenge: Uint8Array) =>
    keys.prove(challenge, ASKER, { seenAs: RELAY, now: 0 });
  assert.equal(askerOf(forward, RELAY), null, "with the endpoint that was signed");
  assert.equal(askerOf(forward, OWN), null, "with another endpoint than was signed");
  const stale = keys.prove(CHALLENGE, ASKER, { seenAs: OWN, now: 0 });
  assert.equal(askerOf(() => stale, OWN), null, "for another challenge");
  assert.equal(askerOf(() => undefined, OWN), null, "no key");
});

Deno.test("a node signs a limited number of challenges", () => {
  const { keys } = proverOf();
  let signed = 0;
  for (let i = 0; i < 1_000; i++) {
    if (keys.prove(CHALLENGE, ASKER, { seenAs: OWN, now: 0 }) !== undefined) signed++;
  }
  assert.ok(signed > 0 && signed <= 10, `${signed} signatures`);
  const proof = keys.prove(CHALLENGE, ASKER, { seenAs: RELAY, now: 0 });
  assert.ok(proof !== undefined, "others are served");
  assert.ok(
    !verify(proof.publicKey, CHALLENGE, proof.signature),
    "a challenge is never signed as it is",
  );
});

Deno.test("a node of an open network tells nobody its key", async () => {
  const first = await start(""), second = await start(first.address);
  try {
    await until(async () => await keyOfPeer(first, second) !== undefined);
    assert.equal(await keyOfPeer(first, second), null);
  } finally {
    await Promise.all([first, second].map((node) => node.close()));
  }
});
