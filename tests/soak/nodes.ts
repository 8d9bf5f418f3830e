// The nodes of a soak: processes that are measured, killed and restarted.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NodeProcess } from "../program/program.ts";
import { mappingsOf } from "./mappings.ts";

/**
 * Settings of every node. The store is small, so that it is full before the measurements begin: a node whose store
 * fills up grows without leaking.
 */
const SETTINGS = { STORAGE_LIMIT: "1000000", API_RATE_LIMIT: "1000", API_SEND_RATE_LIMIT: "1000" };

/** What the soak watches, with the growth per hour that it accepts. Null: only shown. */
export const MEASURES = {
  memory: {
    title: "Memory of the process",
    unit: "MB",
    allowedPerHour: 4,
  },
  heap: {
    title: "JavaScript heap in use by the main thread",
    unit: "MB",
    allowedPerHour: 1,
  },
  v8: {
    title: "Memory of V8 in all threads",
    unit: "MB",
    allowedPerHour: null,
  },
  native: {
    title: "Memory of the C library and of stacks",
    unit: "MB",
    allowedPerHour: null,
  },
  files: {
    title: "Pages of files in memory",
    unit: "MB",
    allowedPerHour: null,
  },
  descriptors: {
    title: "Open file descriptors",
    unit: "",
    allowedPerHour: 2,
  },
  deadlines: {
    title: "Deadlines that the node has scheduled",
    unit: "",
    allowedPerHour: 20,
  },
  queries: {
    title: "Queries in flight",
    unit: "",
    allowedPerHour: 5,
  },
  items: {
    title: "Items that the node holds or publishes",
    unit: "",
    allowedPerHour: null,
  },
} as const;

export type Measure = keyof typeof MEASURES;
export type Sample = Readonly<Record<Measure, number>>;

/**
 * How a node runs. V8 collects the garbage of a small heap so rarely that memory grows for an hour without a leak. So
 * "collected" nodes collect the garbage of all their threads once a minute. Others run as usual, or are killed.
 */
export type Role = "usual" | "collected" | "killed";

/** The flags of V8 with which the task `start` runs a node. */
const V8_FLAGS = "--v8-flags=--max-semi-space-size=2,--heap-growing-percent=30,--expose-gc";

/** The module that makes a node collect its garbage. */
const COLLECTING = fileURLToPath(new URL("./collecting.ts", import.meta.url));

/** How long a start may take while many nodes share a processor. */
const START_MS = 900_000;

export class SoakNode {
  /** Undefined while the node is down. */
  #process: NodeProcess | undefined;
  /** The latest process, even if it is not ready yet. */
  #starting: NodeProcess | undefined;
  /** The UDP port, which stays the same after a restart. */
  #port = "0";
  /** What the node wrote to its log at the level "error". */
  readonly errors: string[] = [];

  private constructor(
    readonly name: string,
    readonly role: Role,
    private readonly directory: string,
  ) {}

  static async start(
    { name, role, directory, bootstrap }: {
      name: string;
      role: Role;
      directory: string;
      bootstrap: string;
    },
  ): Promise<SoakNode> {
    const node = new SoakNode(name, role, directory);
    await node.restart(bootstrap);
    return node;
  }

  /** Starts the node's process. */
  async restart(bootstrap: string): Promise<void> {
    const args = ["--p2p-port", this.#port, "--api-port", "0"];
    args.push("--data-dir", join(this.directory, this.name));
    if (bootstrap !== "") args.push("--bootstrap", bootstrap);
    const denoFlags = [V8_FLAGS];
    if (this.role === "collected") denoFlags.push(`--preload=${COLLECTING}`);
    const process = new NodeProcess(args, { cwd: this.directory, env: SETTINGS, denoFlags });
    this.#starting = process;
    await process.line(({ message }) => message.startsWith("Listening"), START_MS);
    this.#port = process.udp.split(":")[1];
    this.#process = process;
  }

  /** Ends the process like a power cut. */
  async kill(): Promise<void> {
    const process = this.#process!;
    this.#process = undefined;
    this.#noteErrors(process);
    await process.stop("SIGKILL");
  }

  async close(): Promise<void> {
    if (this.#process !== undefined) this.#noteErrors(this.#process);
    this.#process = undefined;
    await this.#starting?.stop("SIGKILL");
  }

  #noteErrors({ lines }: NodeProcess): void {
    const errors = lines.filter(({ level }) => level === "error" || level === "fatal");
    this.errors.push(...errors.map((line) => JSON.stringify(line)));
  }

  get isUp(): boolean {
    return this.#process !== undefined;
  }

  get api(): string {
    return this.#process!.api;
  }

  get udp(): string {
    return this.#process!.udp;
  }

  /** Measures the node. */
  async sample(): Promise<Sample> {
    const { pid } = this.#process!;
    const { v8, native, files } = await mappingsOf(pid);
    let descriptors = 0;
    for await (const _ of Deno.readDir(`/proc/${pid}/fd`)) descriptors++;
    const response = await fetch(`${this.api}/metrics`);
    const metrics = new Map(
      (await response.text()).split("\n").map((line) => {
        const space = line.lastIndexOf(" ");
        return [line.slice(0, space), Number(line.slice(space + 1))];
      }),
    );
    return {
      memory: v8 + native + files,
      heap: metrics.get("dmnode_heap_used_bytes")! / 1e6,
      v8,
      native,
      files,
      descriptors,
      deadlines: metrics.get("dmnode_deadlines")!,
      queries: metrics.get("dmnode_queries_active")!,
      items: metrics.get('dmnode_storage_items{owner="self"}')! +
        metrics.get('dmnode_storage_items{owner="others"}')! +
        metrics.get("dmnode_published_items")!,
    };
  }
}
