// Tests the records of peers' changes. Strangers can't make them grow without limit.

import assert from "node:assert/strict";
import { Contact } from "../../../src/dht/routing/contact.ts";
import { Id } from "../../../src/krpc/id.ts";
import { PeerHistory } from "../../../src/runtime/reports/peer_history.ts";
import { endpoint } from "../../packets.ts";

const peer = (n: number) =>
  new Contact(Id.parse(n.toString(16).padStart(40, "0"))!, endpoint(`127.0.0.1:${1 + n}`), 0);

const SILENT = { kind: "silent", text: "no answer to ping" } as const;
const REPLACED = { kind: "replaced", text: "replaced by a nearer peer" } as const;

Deno.test("changes are kept with their reasons, also after the peer has left", () => {
  const history = new PeerHistory();
  const contact = peer(1), id = `${contact.id}`;
  history.note({ type: "peer.join", contact }, 1);
  history.note({
    type: "peer.health",
    contact,
    from: "healthy",
    to: "degraded",
    reason: SILENT,
  }, 2);
  assert.equal(history.get(id)!.goneAt, undefined);
  history.note({ type: "peer.leave", contact, reason: SILENT }, 3);
  assert.equal(history.get(id)!.goneAt, 3);
  const again = peer(1);
  history.note({ type: "peer.join", contact: again }, 4);
  history.note({ type: "peer.leave", contact: again, reason: REPLACED }, 5);
  assert.deepEqual(history.get(id)!.changes, [
    { at: 1, what: "joined", reason: null },
    { at: 2, what: "degraded", reason: SILENT.text },
    { at: 3, what: "left", reason: SILENT.text },
    { at: 4, what: "joined", reason: null },
    { at: 5, what: "replaced", reason: REPLACED.text },
  ]);
  assert.equal(history.get(id)!.contact, again);
  assert.deepEqual(history.leftSince(5), [again]);
  assert.deepEqual(history.leftSince(6), []);
  history.note({ type: "bootstrap", state: "joined", contacts: 1 }, 6);
  assert.equal(history.get("0".repeat(40)), undefined);
});

Deno.test("20 changes per peer and 1,000 peers are kept, and the peer that left longest ago is forgotten first", () => {
  const history = new PeerHistory();
  const restless = peer(0);
  for (let at = 0; at < 50; at++) history.note({ type: "peer.join", contact: restless }, at);
  const { changes } = history.get(`${restless.id}`)!;
  assert.deepEqual([changes.length, changes[0].at, changes[19].at], [20, 30, 49]);
  for (let n = 1; n < 5_000; n++) {
    const contact = peer(n);
    history.note({ type: "peer.join", contact }, 100 + n);
    history.note({ type: "peer.leave", contact, reason: SILENT }, 100 + n);
  }
  assert.equal(history.leftSince(0).length, 999);
  assert.ok(history.get(`${restless.id}`), "it is still there");
  assert.equal(history.get(`${peer(1).id}`), undefined);
  for (let n = 5_000; n < 7_000; n++) history.note({ type: "peer.join", contact: peer(n) }, 9_000);
  assert.deepEqual(history.leftSince(0), [], "and no more than that while no peer has left");
  assert.equal(history.get(`${peer(5_500).id}`), undefined);
  assert.ok(history.get(`${peer(6_999).id}`));
});
