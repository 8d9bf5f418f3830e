// Fields shared by several reports, and the examples of all fields.

import { z } from "zod";
import { isSeq, type Seq } from "../krpc/seq.ts";

export const NODE_ID = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
export const OTHER_ID = "a5d43220bc8f112a3d426c84764f8c2a1150e616";
/** The hash of the value `Hello World!`. */
export const HELLO = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
/** The target of the mutable item in BEP 44's test vectors. `SIGNED_KEY` is the item's public key. */
export const SIGNED_HASH = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
export const SIGNED_KEY = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
export const ADDRESS = "192.0.2.10:8000";

const EXAMPLES = new WeakMap<z.core.$ZodType, unknown>();

/** Defines a field of a report: its schema, its example value, and an optional description. */
export function field<S extends z.ZodType>(
  schema: S,
  example: z.output<S>,
  description?: string,
): S {
  const own = description === undefined ? schema.clone() : schema.meta({ description });
  EXAMPLES.set(own, example);
  return own as S;
}

/** Builds the example of a report from the examples of its fields. Optional fields are left out. */
export function exampleOf<S extends z.core.$ZodType>(schema: S): z.output<S> {
  return valueOf(schema) as z.output<S>;
}

function valueOf(schema: z.core.$ZodType): unknown {
  if (EXAMPLES.has(schema)) return EXAMPLES.get(schema);
  if (schema instanceof z.ZodArray) return [valueOf(schema.element)];
  if (schema instanceof z.ZodNullable) return valueOf(schema.unwrap());
  if (schema instanceof z.ZodObject) {
    const fields = Object.entries<z.ZodType>(schema.shape)
      .filter(([, inner]) => !(inner instanceof z.ZodOptional));
    return Object.fromEntries(fields.map(([name, inner]) => [name, valueOf(inner)]));
  }
  const { parent } = schema._zod; // set if this is a copy with another description
  if (parent === undefined) throw new Error("a field of a report has no example");
  return valueOf(parent);
}

/** Schemas for fields whose examples differ between reports. */
export const count = z.int().min(0);
export const amount = z.number().min(0);
export const share = z.number().min(0).max(1);

const anyId = z.string().regex(/^[0-9a-f]{40}$/).meta({
  description: "40 lower-case hex digits",
  examples: [NODE_ID],
});
export const id = field(anyId, NODE_ID);
export const ownId = field(anyId, OTHER_ID);
export const hash = field(anyId, HELLO);
export const time = field(
  z.iso.datetime().meta({ description: "RFC 3339, UTC" }),
  "2026-04-14T10:29:55Z",
);
const INT64 = { format: "int64", minimum: 0 } as const;
/** A version number (BEP 44). In JSON, it is an integer with all its digits. */
export const seq = z.custom<Seq>(isSeq, "expected a whole number from 0 to 2^63 - 1")
  .meta({ type: "integer", ...INT64 });
/** The version of a value; null for immutable values. */
export const version = field(seq.nullable().meta({ type: ["integer", "null"], ...INT64 }), null);
export const size = field(count, 12);
export const distance = field(
  z.int().min(0).max(160).meta({ description: "bit length of the XOR of the two ids" }),
  157,
);
export const address = field(
  z.string().meta({
    description: "host:port; IPv6 hosts are in brackets",
    examples: ["192.168.1.10:8000"],
  }),
  ADDRESS,
);
export const health = field(z.enum(["healthy", "degraded", "unhealthy"]), "healthy");
export const kind = field(z.enum(["immutable", "mutable", "chunked"]), "immutable");

export type Health = z.output<typeof health>;
export type Kind = z.output<typeof kind>;
