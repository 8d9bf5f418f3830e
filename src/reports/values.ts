// Reports about values: stored, published, counted, watched and transferred.

import { z } from "zod";
import {
  ADDRESS,
  address,
  amount,
  count,
  exampleOf,
  field,
  hash,
  id,
  kind,
  NODE_ID,
  OTHER_ID,
  SIGNED_HASH,
  SIGNED_KEY,
  size,
  time,
  version,
} from "./fields.ts";
import { DEFAULT_TTL_S } from "./time.ts";

const livesUntil = field(
  time.nullable(),
  "2026-04-15T10:29:55Z",
  "until when other nodes keep the value if this node leaves; null: no other node has it",
);
const thisNodeOnly = field(z.boolean(), false, "whether the value is stored on this node only");

export const Stored = z.object({
  hash,
  kind,
  key: field(z.string().nullable(), null),
  seq: version,
  size: field(count, 12, "bytes of the value"),
  replicas: field(
    count,
    2,
    "nodes that acknowledged durable storage; for a chunked value, how many nodes would have to vanish before it could be lost",
  ),
  nodes: field(
    z.array(id),
    [NODE_ID, OTHER_ID],
    "the nodes that acknowledged the item of this hash",
  ),
  lives_until: livesUntil,
  this_node_only: thisNodeOnly,
  elapsed_ms: field(amount, 80.2),
}).meta({ id: "Stored" });
export type Stored = z.output<typeof Stored>;

/** The response to a request that stores a value. */
export const StoredValue = Stored.extend({
  link: z.string().optional().meta({
    description:
      "only with `seal`: anyone who has this link can fetch and open the value. The node does not keep it",
  }),
}).meta({ id: "StoredValue" });
export type StoredValue = z.output<typeof StoredValue>;

export const STORED = exampleOf(Stored);

export const STORED_UNDER_KEY: Stored = {
  ...STORED,
  hash: "411eba73b6f087ca51a3795d9c8c938d365e32c1",
  kind: "mutable",
  key: "sensor/1",
  seq: 7,
  size: 20,
};

export const STORED_SEALED: StoredValue = {
  ...STORED,
  size: 56,
  link: `dm:${STORED.hash}#mCkqSyjXUhFcSUVzTClL1A`,
};

export const STORED_SIGNED: Stored = { ...STORED, hash: SIGNED_HASH, kind: "mutable", seq: 1 };

/** Refusals of a store with the same code and text. The text comes from another node, and is cleaned and truncated. */
export const Refusal = z.object({
  code: z.int().meta({ description: "a KRPC error code (BEP 5, BEP 44)" }),
  text: z.string(),
  nodes: count.meta({ description: "number of nodes that refused with this error" }),
});
export type Refusal = z.output<typeof Refusal>;

/**
 * How safe a published value is. `failing`: no other node acknowledged the latest publication.
 * `short`: fewer than four fifths of the nodes that should have the value acknowledged it.
 * `ending`: over three quarters of the value's life have passed since another node last
 * acknowledged it.
 */
export const ValueState = z.enum(["safe", "short", "failing", "ending"]);
export type ValueState = z.output<typeof ValueState>;
const valueState = field(
  ValueState,
  "safe",
  "short: fewer than four fifths of the nodes that should have the value acknowledged it; failing: no other node " +
    "acknowledged the latest publication; ending: it failed for so long that copies will soon expire, or have expired",
);

/** A value that this node keeps published: one that was stored through it, or one that is pinned. */
export const PublishedValue = z.object({
  hash,
  kind,
  key: field(z.string().nullable(), null, "the salt, if it is text"),
  seq: version,
  size: field(
    count.nullable(),
    12,
    "null: the key refers to a chunked value that another node publishes",
  ),
  items: field(count, 1, "items of the value that this node publishes"),
  first_at: field(time, "2026-04-14T08:00:00Z"),
  last_at: field(
    time.nullable(),
    "2026-04-14T10:00:12Z",
    "when a node, which may be this one, last acknowledged the value",
  ),
  next_at: field(time, "2026-04-14T10:57:40Z"),
  replicas: field(
    count,
    20,
    "nodes that acknowledged the latest publication; for a chunked value, that of its root",
  ),
  failures: field(count, 0, "attempts since then that no node acknowledged"),
  ttl: field(
    count,
    DEFAULT_TTL_S,
    "seconds for which other nodes keep the value after a publication",
  ),
  lives_until: livesUntil,
  this_node_only: thisNodeOnly,
  state: valueState,
  pinned: field(z.boolean(), false, "whether the value is pinned"),
}).meta({ id: "PublishedValue" });
export type PublishedValue = z.output<typeof PublishedValue>;

export const PINNED: PublishedValue = { ...exampleOf(PublishedValue), pinned: true };

/** The number of copies of a published value at one time. */
const PublicationRecord = z.object({
  at: time,
  kind: field(
    z.enum(["published", "failed", "counted"]),
    "published",
    "published: nodes acknowledged a publication; failed: no other node did; counted: somebody had the copies counted, " +
      "and each copy was checked",
  ),
  copies: field(count, 20),
  seq: field(
    count.nullable(),
    null,
    "the version; a version over 2^53 - 1 is shown as this number",
  ),
});
export type PublicationRecord = z.output<typeof PublicationRecord>;

const holders = field(
  z.array(z.string()),
  [NODE_ID.slice(0, 8), OTHER_ID.slice(0, 8)],
  "the first eight digits of the ids of the nodes that acknowledged it last, this node included; empty until it is " +
    "published after a restart. For a chunked value, the holders of its root",
);

/** A published value with its past. */
export const PublishedDetail = PublishedValue.extend({
  wanted: field(
    count,
    20,
    "copies that the value should have: K_BUCKET_SIZE, or fewer in a small network",
  ),
  holders,
  history: z.array(PublicationRecord).meta({ description: "the latest 48, oldest first" }),
}).meta({ id: "PublishedDetail" });
export type PublishedDetail = z.output<typeof PublishedDetail>;

/** The nodes that hold the published values. */
export const Holders = z.object({
  wanted: field(count, 20, "copies that each value should have"),
  values: z.array(z.object({
    hash,
    key: field(z.string().nullable(), null),
    kind,
    holders,
  })).meta({ description: "at most 10,000" }),
}).meta({ id: "Holders" });
export type Holders = z.output<typeof Holders>;

/** A page of the values that the node keeps published. */
export const Published = z.object({
  total: field(count, 1, "number of values that this node keeps published"),
  offset: field(count, 0),
  published: z.array(PublishedValue),
}).meta({ id: "Published" });
export type Published = z.output<typeof Published>;

/** An item that this node holds for the network. */
export const HeldItem = z.object({
  hash,
  size: field(count, 12, "bytes of the bencoded value"),
  expires_at: field(time, "2026-04-15T08:00:00Z"),
}).meta({ id: "HeldItem" });

/** The items that this node holds for the network, nearest to the node's id first. */
export const HeldItems = z.object({
  total: field(count, 1, "number of items that this node holds"),
  items: z.array(HeldItem),
}).meta({ id: "HeldItems" });
export type HeldItems = z.output<typeof HeldItems>;

/** A page of the pinned values. */
export const Pins = z.object({
  total: field(count, 1, "number of pinned values"),
  offset: field(count, 0),
  pins: field(z.array(PublishedValue), [PINNED]),
}).meta({ id: "Pins" });
export type Pins = z.output<typeof Pins>;

/** How many copies the pieces of a chunked value have. */
const Parts = z.object({
  pieces: count.meta({ description: "pieces of the value that the network should hold" }),
  wanted: count.meta({ description: "copies that each piece should have" }),
  counted: count.meta({ description: "pieces whose copies were counted: a random sample" }),
  lost: count.meta({
    description:
      "counted pieces without any copy; other pieces restore them unless two thirds of a stripe are lost",
  }),
  mean: amount.meta({ description: "copies of a counted piece, on average" }),
});
export type Parts = z.output<typeof Parts>;

/** The nodes that hold a value. */
export const Replicas = z.object({
  hash,
  kind,
  seq: version,
  holders: field(
    z.array(z.object({
      node_id: id,
      address: address.nullable().meta({ description: "null: this node" }),
      seq: version,
      age_s: amount.nullable().meta({
        description: "seconds since its owner put it; null: the holder does not say",
      }),
    })),
    [
      { node_id: NODE_ID, address: ADDRESS, seq: null, age_s: 75.3 },
      { node_id: OTHER_ID, address: null, seq: null, age_s: 75.3 },
    ],
    "nearest first",
  ),
  count: field(count, 2),
  wanted: field(count, 20, "K_BUCKET_SIZE"),
  parts: field(Parts.nullable(), null, "copies of a chunked value's items"),
}).meta({ id: "Replicas" });
export type Replicas = z.output<typeof Replicas>;

/** A version of a watched value. */
export const ValueEvent = z.object({
  hash: field(hash, SIGNED_HASH),
  seq: field(version, 7),
  size,
  public_key: field(z.string().nullable(), SIGNED_KEY, "Ed25519, hex"),
  at: time.meta({ description: "when this node saw the version first" }),
}).meta({ id: "ValueEvent" });
export type ValueEvent = z.output<typeof ValueEvent>;

/** A chunked value that is being stored or fetched. */
export const Transfer = z.object({
  transfer: field(count, 12, "number of the transfer on this node"),
  label: field(z.string().nullable(), "backup-7"),
  direction: field(z.enum(["store", "fetch"]), "store"),
  hash: field(hash.nullable(), null, "null until a store has ended"),
  state: field(
    z.enum(["receiving", "moving", "done", "failed"]),
    "moving",
    "a value to store is first received, and then moved to other nodes; the last two are in events",
  ),
  done_bytes: field(count, 65_736, "bytes received, and then bytes stored or fetched"),
  total_bytes: field(count.nullable(), 100_000, "null: the client did not state a length"),
});
export type Transfer = z.output<typeof Transfer>;

export const Transfers = z.object({ transfers: z.array(Transfer) }).meta({ id: "Transfers" });
export type Transfers = z.output<typeof Transfers>;
