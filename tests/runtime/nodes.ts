// Nodes of this process for the tests of the runtime.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import { jsonText } from "../../src/web/json.js";
import type { StoreOutcome } from "../../src/node_service.ts";
import { LocalNode, type LocalNodeOptions } from "../../src/runtime/local_node.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

export interface NodeOptions extends Partial<LocalNodeOptions> {
  /** 0 by default, which stands for any free port. */
  readonly port?: number;
  readonly bootstrap?: string;
  /** The node uses no disk without one. */
  readonly dataDir?: string;
  readonly k?: number;
  /** Seconds. */
  readonly healthCheckInterval?: number;
  /** Bytes. */
  readonly maxValueSize?: number;
  readonly readOnly?: boolean;
}

export type Start = (options?: NodeOptions) => Promise<LocalNode>;

/** Runs a test with a temporary directory, and closes its nodes at the end. */
export function withNodes(body: (start: Start, path: (name: string) => string) => Promise<void>) {
  return () =>
    inTemporaryDirectory(async (path) => {
      const nodes: LocalNode[] = [];
      try {
        await body(async (options = {}) => {
          const node = await startNode(options);
          nodes.push(node);
          return node;
        }, path);
      } finally {
        await Promise.all(nodes.map((node) => node.close()));
      }
    });
}

export function startNode(
  { port = 0, bootstrap, dataDir, k, healthCheckInterval, maxValueSize, readOnly, ...options }:
    NodeOptions = {},
): Promise<LocalNode> {
  const given = { p2pPort: port, bootstrap, dataDir, k, healthCheckInterval, readOnly };
  const flags = Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, `${value}`]]
    ),
  );
  const persistent = dataDir !== undefined;
  const env = maxValueSize === undefined ? {} : { MAX_VALUE_SIZE: `${maxValueSize}` };
  return LocalNode.start(loadConfig({ flags, env }), { persistent, ...options });
}

/** Polls until a condition holds. Resolves to the milliseconds that it took. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  withinMs = 20_000,
): Promise<number> {
  const begun = performance.now();
  while (!await holds()) {
    assert.ok(performance.now() - begun < withinMs, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - begun;
}

/** The report of a successful store. */
export function stored(outcome: StoreOutcome) {
  assert.equal(outcome.outcome, "stored", jsonText(outcome));
  return outcome.outcome === "stored" ? outcome.report : assert.fail();
}
