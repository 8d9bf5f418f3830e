// A node sends events to 1,000 listeners while it answers queries as fast as it can. This measures how late the events
// arrive, and how much they slow down the answers. The load generator has one core. The node may use both, because
// separate threads write events and answer queries. Rounds with and without listeners alternate.

import { Writer } from "../src/krpc/bencode.ts";
import { decode, writeQuery } from "../src/krpc/message.ts";
import { CLIENT, randomId } from "./full_node.ts";
import { median, printTable } from "./measure.ts";
import { buildGenerator, cpuSeconds, Running, type Server, twoCores } from "./running.ts";

export interface EventsOptions {
  /** Listening connections. */
  readonly listeners: number;
  /** Events per second. */
  readonly events: number;
  /** The length of each measurement. */
  readonly seconds: number;
  /** Measurements of each kind. The medians are reported. */
  readonly rounds: number;
  /** Queries in flight. */
  readonly window: number;
}

/** The limits: for the 99th percentile of lateness, and for the share of the answer rate that events may cost. */
const LATE_MS = 250, SLOWED = 0.1;

/** The transports of events. */
const WAYS: Record<string, { readonly kind: "socket" | "stream"; readonly path: string }> = {
  "/ws": { kind: "socket", path: "/ws?types=data.store" },
  "/events": { kind: "stream", path: "/events?types=data.store" },
};

/** A pause in which the work of connecting ends. */
const SETTLE_MS = 500;

/** Idle time at the start and the end of a measurement. */
const MARGIN_S = 0.1;

/** The size of the items that are put. Every put causes an event. */
const ITEM_BYTES = 500;

interface Heard {
  readonly closed: number;
  readonly bad: number;
  readonly per_second: number;
  readonly least: number;
  readonly reads: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
  readonly cpu_share: number;
}

interface Round {
  /** Undefined without queries. */
  readonly qps: number | undefined;
  /** Undefined without listeners. */
  readonly heard: Heard | undefined;
  /** Shares of a core used by the node, and by its thread that answers queries. */
  readonly cpu: number;
  readonly mainCpu: number;
  /** The number of events. */
  readonly made: number;
}

/** Results by transport ("" without listeners), with as many queries as possible, and with none. */
type Rounds = Map<string, { readonly asked: Round[]; readonly quiet: Round[] }>;

/** Runs the comparison and prints it, or prints why this machine can't. */
export async function benchEvents(options: EventsOptions): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-bench-" });
  try {
    const generator = await buildGenerator(directory);
    if (typeof generator !== "string") {
      return console.log(`\nEvents: skipped, ${generator.skipped}.`);
    }
    const listener = await buildGenerator(directory, "events_load");
    if (typeof listener !== "string") return console.log(`\nEvents: skipped, ${listener.skipped}.`);
    const cores = await twoCores();
    await using running = new Running(generator, cores, options, [0, 1]);
    const node = await running.startOwn("node_server.ts", "127.0.0.1", "api", "batches");
    const run = (isAsked: boolean, way: string) =>
      measure({ node, running, generator, listener, options, isAsked, way });
    const all: Rounds = new Map();
    // The first round warms up.
    for (let i = 0; i <= options.rounds; i++) {
      for (const way of ["", ...Object.keys(WAYS)]) {
        const { asked, quiet } = all.get(way) ?? { asked: [], quiet: [] };
        const round = await run(true, way);
        const rest = way === "" ? [] : [await run(false, way)];
        all.set(
          way,
          i === 0 ? { asked, quiet } : { asked: [...asked, round], quiet: [...quiet, ...rest] },
        );
      }
    }
    print(options, all);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function measure({ node, running, generator, listener, options, isAsked, way }: {
  readonly node: Server;
  readonly running: Running;
  readonly generator: string;
  readonly listener: string;
  readonly options: EventsOptions;
  readonly isAsked: boolean;
  readonly way: string;
}): Promise<Round> {
  const { listeners, seconds, events, window } = options;
  const source = await EventSource.start(node.port, events);
  const heard = way === "" ? undefined : running.command([1], listener, [
    WAYS[way].kind,
    `${node.api}`,
    WAYS[way].path,
    `${listeners}`,
    `${seconds}`,
  ], "piped").spawn();
  try {
    const output = heard && new Output(heard);
    await output?.first();
    // All listeners have just connected.
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const started = performance.now(), made = source.made;
    const cpu = await cpuSeconds(node.process);
    const mainCpu = await cpuSeconds(node.process, "main thread");
    await heard?.stdin.close();
    const asked = isAsked
      ? running.command([1], generator, [
        ...["--port", `${node.port}`, "--query", "find_node", "--window", `${window}`],
        ...["--seconds", `${seconds - 2 * MARGIN_S}`, "--warmup", `${MARGIN_S / 2}`],
      ]).output()
      : undefined;
    // Measured before the listeners disconnect, because that is work too.
    const [answered] = await Promise.all([
      asked,
      new Promise((resolve) => setTimeout(resolve, 1000 * (seconds - MARGIN_S))),
    ]);
    const elapsed = (performance.now() - started) / 1000;
    const cpuShare = (await cpuSeconds(node.process) - cpu) / elapsed;
    const mainShare = (await cpuSeconds(node.process, "main thread") - mainCpu) / elapsed;
    const madePerSecond = (source.made - made) / elapsed;
    const text = await output?.rest();
    const answers = answered && JSON.parse(new TextDecoder().decode(answered.stdout));
    return {
      qps: answers?.qps,
      heard: text === undefined ? undefined : JSON.parse(text),
      cpu: cpuShare,
      mainCpu: mainShare,
      made: madePerSecond,
    };
  } finally {
    source.close();
  }
}

/** The output of a process: its first line, then the rest. */
class Output {
  readonly #reader: ReadableStreamDefaultReader<string>;

  constructor({ stdout }: Deno.ChildProcess) {
    this.#reader = stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  async first(): Promise<string> {
    return (await this.#reader.read()).value ?? "";
  }

  async rest(): Promise<string> {
    for (let text = "";;) {
      const { done, value } = await this.#reader.read();
      if (done) return text;
      text += value;
    }
  }
}

/** A node that puts items on the node under test. Each put is an event there. */
class EventSource {
  /** Puts so far. */
  made = 0;
  readonly #socket: Deno.DatagramConn;
  readonly #to: Deno.NetAddr;
  readonly #writer = new Writer(2_048);
  readonly #id = randomId();
  #token = new Uint8Array();
  #timer: ReturnType<typeof setInterval> | undefined;

  private constructor(port: number) {
    this.#socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    this.#to = { transport: "udp", hostname: "127.0.0.1", port };
  }

  static async start(port: number, perSecond: number): Promise<EventSource> {
    const source = new EventSource(port);
    const target = randomId();
    writeQuery(source.#writer, "get", 0, source.#id, CLIENT, true, { target });
    await source.#send();
    const [reply] = await source.#socket.receive();
    const message = decode(reply);
    if (typeof message === "string" || message.token === undefined) throw new Error("no token");
    source.#token = message.token.slice();
    void source.#drain();
    const startedAt = performance.now();
    let due = 0;
    source.#timer = setInterval(() => {
      const wanted = (performance.now() - startedAt) * perSecond / 1000;
      for (; due < wanted; due++) source.#put(due);
    }, 1);
    return source;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }

  #put(index: number): void {
    const text = `${ITEM_BYTES - 4}:${index}`;
    const value = new Uint8Array(ITEM_BYTES).fill(0x78);
    for (let i = 0; i < text.length; i++) value[i] = text.charCodeAt(i);
    writeQuery(this.#writer, "put", index, this.#id, CLIENT, true, { token: this.#token, value });
    void this.#send();
    this.made++;
  }

  async #send(): Promise<void> {
    await this.#socket.send(this.#writer.done().slice(), this.#to);
  }

  async #drain(): Promise<void> {
    try {
      for (;;) await this.#socket.receive();
    } catch {
      // The socket was closed.
    }
  }
}

function print({ listeners, events, rounds: count, seconds }: EventsOptions, all: Rounds): void {
  const alone = all.get("")!.asked;
  const rows = Array.from(
    all,
    ([way, kinds]) =>
      Object.entries(kinds).filter(([, rounds]) => rounds.length > 0).map(([kind, rounds]) => {
        const figure = (digits: number, value: (round: Round, i: number) => number | undefined) => {
          const middle = median(rounds.map((round, i) => value(round, i) ?? NaN));
          return Number.isNaN(middle) ? "" : middle.toFixed(digits);
        };
        const share = (value: (round: Round) => number) =>
          way === "" ? "" : figure(1, (round, i) => 100 * (1 - value(round) / value(alone[i])));
        return [
          way === "" ? "none" : `${way}, ${kind}`,
          figure(0, ({ qps }) => qps),
          share(({ qps }) => qps ?? NaN),
          share(({ qps, mainCpu }) => (qps ?? NaN) / mainCpu),
          figure(2, ({ cpu }) => cpu),
          figure(2, ({ mainCpu }) => mainCpu),
          figure(0, ({ made }) => made),
          figure(0, ({ heard }) => heard?.per_second),
          figure(0, ({ heard }) => heard && heard.reads / seconds),
          figure(0, ({ heard }) => heard?.p50_ms),
          figure(0, ({ heard }) => heard?.p99_ms),
          figure(0, ({ heard }) => heard?.max_ms),
          figure(0, ({ heard }) => heard && heard.closed + heard.bad),
          figure(2, ({ heard }) => heard?.cpu_share),
        ];
      }),
  ).flat();
  printTable(
    `${events} events a second to ${listeners} listeners, from a node on two cores; medians of ` +
      `${count} rounds of ${seconds} s`,
    [
      "listeners",
      "queries/s",
      "slower %",
      "by CPU %",
      "CPU",
      "main",
      "events/s",
      "received/s",
      "reads/s",
      "p50 ms",
      "p99 ms",
      "max ms",
      "lost",
      "load",
    ],
    rows,
  );
  console.log(`
Limits: 99 % of the events arrive within ${LATE_MS} ms, and the node answers at most ${
    100 * SLOWED
  } % fewer queries.
asked: find_node queries as fast as the node answers them. quiet: no queries.
The node and the load generator share one of the two cores, so the listeners' processor time also reduces queries/s.
main: processor time of the thread that answers queries. by CPU: the loss of queries per second of that time, which other
programs on the machine affect less. received/s: the sum over all listeners. load: the listeners' share of their core.`);
}
