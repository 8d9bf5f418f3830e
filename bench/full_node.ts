// Fills a node for the benchmarks in the usual ways: contacts that answer fill its table as in a network of millions,
// and another node puts items.

import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { Id } from "../src/krpc/id.ts";
import { decode, type Message, writeQuery, writeResponse } from "../src/krpc/message.ts";
import type { Host } from "../src/dht/host.ts";
import { PublishedStore } from "../src/dht/items/published.ts";
import { ItemStore } from "../src/dht/items/item_store.ts";
import { DhtNode } from "../src/dht/node.ts";
import { itemCrypto } from "../src/runtime/identity/crypto.ts";

/** The default K_BUCKET_SIZE. */
export const K = 20;

/** The buckets that are full in a network of K * 2^20 nodes: twenty million, the size of the public network. */
export const FULL_BUCKETS = 20;

/** Longer than any benchmark, so that no contact is checked or dropped meanwhile. */
export const HEALTH_CHECK_MS = 3_600_000;

export const CLIENT = 0x444d3031;

const ITEMS = 1_000;

/** The length of a short text. */
const ITEM_BYTES = 500;

type Send = (datagram: Uint8Array, to: Endpoint) => void;

export interface FullNode {
  readonly node: DhtNode;
  /** An item that the node holds. */
  readonly item: Id;
  /** Sets where the node's datagrams go from now on. */
  sendTo(send: Send): void;
}

/** Creates a node without a socket. Its datagrams are dropped until `sendTo` is called. */
export async function fullNode(now: number): Promise<FullNode> {
  let send: Send = () => {};
  const own = randomId();
  const host: Host = {
    ...itemCrypto,
    send: (datagram, to) => send(datagram, to),
    emit: () => {},
    isLocal: () => true,
    openSockets: () => undefined,
    randomBytes,
    items: new ItemStore(own, 1 << 30, 1),
    published: new PublishedStore(0),
  };
  const node = new DhtNode(host, {
    id: own,
    k: K,
    alpha: 3,
    healthCheckIntervalMs: HEALTH_CHECK_MS,
    families: [4],
    readOnly: false,
    client: CLIENT,
  }, now);
  const sendTo = (next: Send) => void (send = next);
  fillTable(node, sendTo, now);
  const from = Endpoint.parse("127.3.0.1", 6881)!;
  const item = await putItems((query) => {
    let reply = new Uint8Array();
    sendTo((datagram) => void (reply = datagram.slice()));
    node.receive(query, from, now);
    return Promise.resolve(reply);
  });
  sendTo(() => {});
  return { node, item, sendTo };
}

/** Ids that fill the table of the node `own`, bucket by bucket. */
export function contactIds(own: Id): Id[] {
  return Array.from({ length: FULL_BUCKETS * K }, (_, i) => {
    const bucket = Math.floor(i / K);
    // An id in bucket i shares i bits with the node's own id, and differs in the next bit.
    return own.flip(bucket).withSuffix(bucket + 1, randomId());
  });
}

/** Puts items like another node: gets a token, then puts. Returns the last item's target. */
export async function putItems(
  exchange: (query: Uint8Array) => Promise<Uint8Array>,
  count = ITEMS,
): Promise<Id> {
  const writer = new Writer(2048);
  const sender = randomId();
  const ask = async (): Promise<Message> => {
    const reply = decode(await exchange(writer.done()));
    if (typeof reply === "string" || reply.type !== "r") {
      throw new Error(
        `an item was refused: ${typeof reply === "string" ? reply : reply.errorText}`,
      );
    }
    return reply;
  };
  let target = sender;
  for (let i = 0; i < count; i++) {
    const value = new Uint8Array(ITEM_BYTES).fill(0x78);
    const text = `${ITEM_BYTES - 4}:${i}`;
    for (let at = 0; at < text.length; at++) value[at] = text.charCodeAt(at);
    target = Id.read(itemCrypto.sha1(value));
    // The query is marked read-only, because the node would ping the sender otherwise.
    writeQuery(writer, "get", i, sender, CLIENT, true, { target });
    const { token } = await ask();
    writeQuery(writer, "put", i, sender, CLIENT, true, { token, value });
    await ask();
  }
  return target;
}

/** Makes the node ping contacts of every bucket, and answers for them. */
function fillTable(node: DhtNode, sendTo: (send: Send) => void, now: number): void {
  const writer = new Writer(256);
  contactIds(node.id).forEach((id, i) => {
    const endpoint = Endpoint.parse(`127.2.${i >> 8}.${i & 255}`, 6881)!;
    let answer = new Uint8Array();
    sendTo((query, to) => {
      writeResponse(writer, decode(query) as Message, to, id, CLIENT, {});
      answer = writer.done().slice();
    });
    node.ping(endpoint, now, () => {});
    node.receive(answer, endpoint, now);
  });
  if (node.tables.size !== FULL_BUCKETS * K) {
    throw new Error(`${node.tables.size} contacts were admitted instead of ${FULL_BUCKETS * K}`);
  }
}

export function randomId(): Id {
  return Id.read(randomBytes(20));
}

function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}
