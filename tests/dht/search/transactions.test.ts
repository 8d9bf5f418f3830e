// Replies are matched by transaction id and by address.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Transaction, Transactions } from "../../../src/dht/search/transactions.ts";
import { decode, Message } from "../../../src/krpc/message.ts";
import { encode, endpoint, id } from "../../packets.ts";

const PEER = endpoint("1.2.3.4:6881");
const transaction = (tid: number): Transaction => ({
  tid,
  method: "ping",
  to: PEER,
});

function reply(t: string): Message {
  const message = decode(encode({ t, y: "r", r: { id: id("aa").toBytes() } }));
  assert.ok(message instanceof Message);
  return message;
}

Deno.test("a reply settles the query with its transaction id and address, once", () => {
  const open = new Transactions();
  const asked = transaction(0x61626364);
  open.add(asked);
  assert.ok(open.has(0x61626364));
  assert.equal(open.settle(reply("abcd"), PEER), asked);
  assert.equal(open.settle(reply("abcd"), PEER), undefined);
  assert.equal(open.size, 0);
});

Deno.test("a reply from another address or port is not the one that was asked", () => {
  const open = new Transactions();
  open.add(transaction(0x61626364));
  for (const from of ["1.2.3.5:6881", "1.2.3.4:6882", "[102:304::]:6881"]) {
    assert.equal(open.settle(reply("abcd"), endpoint(from)), undefined);
  }
  assert.equal(open.size, 1);
});

Deno.test("a transaction id that was shortened, lengthened or changed matches nothing", () => {
  const open = new Transactions();
  open.add(transaction(0x61626364));
  for (const t of ["", "abc", "abcde", "abce", "dcba"]) {
    assert.equal(open.settle(reply(t), PEER), undefined);
  }
  open.remove(transaction(0x61626364));
  assert.equal(open.settle(reply("abcd"), PEER), undefined);
});

Deno.test("transaction ids use all 32 bits", () => {
  const open = new Transactions();
  const asked = transaction(0xff800001 | 0);
  open.add(asked);
  assert.equal(open.settle(reply("\xff\x80\x00\x01"), PEER), asked);
});

Deno.test("exactly the open transactions are found, even if their ids collide", () => {
  // Few ids, alike in their low bits: most collide.
  const tid = fc.nat({ max: 31 }).map((n) => ((n & 3) | ((n >> 2) << 28)) | 0);
  const step = fc.tuple(fc.constantFrom("add", "settle", "remove"), tid);
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const open = new Transactions(), model = new Map<number, Transaction>();
    for (const [what, tid] of steps) {
      const known = model.get(tid);
      if (what === "add" && known === undefined) {
        const asked = transaction(tid);
        model.set(tid, asked);
        open.add(asked);
      } else if (what === "settle") {
        const bytes = [tid >>> 24, (tid >>> 16) & 255, (tid >>> 8) & 255, tid & 255];
        assert.equal(open.settle(reply(String.fromCharCode(...bytes)), PEER), known);
        model.delete(tid);
      } else if (what === "remove") {
        open.remove(transaction(tid));
        model.delete(tid);
      }
      assert.equal(open.size, model.size);
      for (let n = 0; n < 32; n++) {
        const id = ((n & 3) | ((n >> 2) << 28)) | 0;
        assert.equal(open.has(id), model.has(id));
      }
    }
  }));
});

Deno.test("thousands of transactions can be open at the same time", () => {
  const open = new Transactions();
  for (let tid = 0; tid < 5_000; tid++) open.add(transaction(tid * 7));
  assert.equal(open.size, 5_000);
  for (let tid = 0; tid < 5_000; tid++) {
    assert.ok(open.has(tid * 7));
    open.remove(transaction(tid * 7));
  }
  assert.equal(open.size, 0);
  open.add(transaction(1));
  assert.ok(open.has(1) && !open.has(2));
});
