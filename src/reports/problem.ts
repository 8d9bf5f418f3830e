// The format of the API's error responses.

import { z } from "zod";
import { count, id, seq } from "./fields.ts";
import { Refusal } from "./values.ts";

/** The body of every error response (RFC 9457). Some errors add members, such as `limit` for status 413. */
export const ProblemDocument = z.looseObject({
  type: z.string().meta({
    description: "always about:blank, because the status identifies the problem",
  }),
  title: z.string().meta({ description: "the name of the status" }),
  status: z.int(),
  detail: z.string().meta({ description: "what was wrong with this request" }),
  size: count.optional().meta({ description: "actual number of bytes" }),
  limit: count.optional().meta({ description: "allowed number of bytes" }),
  seq: seq.optional().meta({ description: "the version on the network" }),
  hash: id.optional().meta({ description: "the hash at which the signed item belongs" }),
  key_needed: z.literal(true).optional().meta({
    description: "the value exists, but can only be verified with its key",
  }),
  acknowledged: count.optional().meta({ description: "nodes that acknowledged the value" }),
  min_replicas: count.optional().meta({ description: "nodes that must acknowledge it" }),
  known_nodes: count.optional().meta({
    description: "nodes that this node knows, itself included, if they are too few",
  }),
  refusals: z.array(Refusal).optional().meta({ description: "the refusals of the other nodes" }),
  needed_bytes: count.optional().meta({ description: "space that the value needs on each node" }),
  nodes_asked: count.optional().meta({ description: "nodes that were asked for room" }),
  nodes_with_room: count.optional().meta({
    description: "nodes that were asked and have this room",
  }),
  kept_published: z.boolean().optional().meta({
    description: "whether an earlier store of the value is still kept published, if known",
  }),
  ready: z.literal(false).optional(),
  reason: z.string().optional().meta({ description: "why the node is not ready" }),
  types: z.array(z.string()).optional().meta({ description: "the types of events" }),
}).meta({ id: "Problem" });
export type ProblemDocument = z.output<typeof ProblemDocument>;
