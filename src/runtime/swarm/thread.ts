// A worker thread that runs part of a swarm, and the messages that the main thread exchanges with it.

import type { Operation, SwarmOptions } from "./node.ts";
import { Swarm, type SwarmTotals } from "./swarm.ts";

/** The methods that the main thread can call. */
export interface SwarmCalls {
  open(options: SwarmOptions): void;
  grow(count: number, bootstrap: readonly string[]): Promise<void>;
  store(node: number, value: Uint8Array): Promise<Operation & { hash: string; replicas: number }>;
  holds(node: number, hash: string): boolean;
  fetch(node: number, hash: string, value: Uint8Array): Promise<Operation>;
  totals(): SwarmTotals;
  /** Returns the addresses of the first `count` nodes. */
  addresses(count: number): string[];
}

interface SwarmCall {
  readonly id: number;
  readonly method: keyof SwarmCalls;
  readonly given: readonly unknown[];
}

/** Messages from a worker: it is ready, a number of nodes have joined, or a call has ended. */
export type SwarmMessage =
  | { readonly type: "ready" }
  | { readonly type: "joined"; readonly nodes: number }
  | { readonly type: "reply"; readonly id: number; readonly reply: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: string };

/** Serves the calls of the main thread. This thread must be a worker. */
export function serveSwarm(): void {
  const thread = globalThis as unknown as {
    onmessage: (event: MessageEvent<SwarmCall>) => void;
    postMessage(message: SwarmMessage): void;
  };
  let swarm: Swarm;
  const calls: SwarmCalls = {
    open: (options) => void (swarm = new Swarm(options)),
    grow: (count, bootstrap) =>
      swarm.grow(count, bootstrap, (nodes) => thread.postMessage({ type: "joined", nodes })),
    store: (node, value) => swarm.nodes[node].store(value),
    holds: (node, hash) => swarm.nodes[node].holds(hash),
    fetch: (node, hash, value) => swarm.nodes[node].fetch(hash, value),
    totals: () => swarm.totals(),
    addresses: (count) => swarm.nodes.slice(0, count).map(({ address }) => address),
  };
  thread.onmessage = async ({ data: { id, method, given } }) => {
    try {
      const call = calls[method] as (...given: unknown[]) => unknown;
      thread.postMessage({ type: "reply", id, reply: await call(...given) });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      thread.postMessage({ type: "failed", id, error: text });
    }
  };
  thread.postMessage({ type: "ready" });
}
