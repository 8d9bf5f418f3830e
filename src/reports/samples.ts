// Reports about the info-hashes that other nodes store (BEP 51).

import { z } from "zod";
import { address, amount, count, field, id } from "./fields.ts";
import { infoHash, SERVICE_HASH } from "./swarms.ts";

const infoHashes = field(z.array(infoHash), [SERVICE_HASH]);

/** A sample of the info-hashes that one node stores. */
export const NodeSample = z.object({
  node_id: id,
  address,
  info_hashes: infoHashes,
  stored: field(count, 412, "how many info-hashes the node says that it stores"),
  interval_s: field(count, 300, "for how many seconds the node returns the same sample"),
}).meta({ id: "NodeSample" });
export type NodeSample = z.output<typeof NodeSample>;

/** The info-hashes that a walk through the network found. */
export const NetworkSample = z.object({
  info_hashes: infoHashes,
  queries: field(count, 50),
  nodes: field(count, 47, "nodes that answered"),
  sampled: field(count, 41, "nodes that returned a sample"),
  stored: field(
    count,
    15_120,
    "the sum of what the sampled nodes say that they store; most info-hashes are on several nodes",
  ),
  elapsed_ms: field(amount, 2_610.4),
}).meta({ id: "NetworkSample" });
export type NetworkSample = z.output<typeof NetworkSample>;
