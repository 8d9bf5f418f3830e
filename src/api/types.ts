// The API's answers as types, for those who read them: the dashboard's modules are checked against these.

import type { z } from "@hono/zod-openapi";
import type * as schemas from "./schemas.ts";

export type Peer = z.output<typeof schemas.Peer>;
export type Peers = z.output<typeof schemas.PeersResponse>;
export type PeerDetail = z.output<typeof schemas.PeerResponse>;
export type Ping = z.output<typeof schemas.PingResponse>;
export type Lookup = z.output<typeof schemas.FindResponse>;
export type Stats = z.output<typeof schemas.StatsResponse>;
export type Stored = z.output<typeof schemas.StoreResponse>;
export type Published = z.output<typeof schemas.PublishedResponse>;
export type Replicas = z.output<typeof schemas.ReplicasResponse>;
export type Transfers = z.output<typeof schemas.TransfersResponse>;
export type History = z.output<typeof schemas.HistoryResponse>;
export type Problem = z.output<typeof schemas.ProblemDocument>;
