// Measures the cost of the API's front compared with bare Deno.serve, and the cost of idle connections. Each server is
// a process on loopback. Memory and file descriptors are read from Linux.
//
// deno run --allow-all bench/api.ts [--seconds S] [--connections N]

import { parseArgs } from "node:util";
import { connectionLimits } from "../src/api/front/front.ts";
import { serveApi } from "../src/api/server.ts";

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "3" },
    connections: { type: "string", default: "1000" },
    /** The role of this process: the measuring one, or one of the servers. */
    serve: { type: "string" },
  },
});
const connections = Number(options.connections);

const answer = () => Response.json({ status: "ok" });
const REQUEST = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
/** The first part of the request head of a slow client. */
const PARTIAL = `GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${"a".repeat(30_000)}`;
const SERVERS = { "Deno.serve": "bare", "through the front": "front" } as const;

async function serve(mode: string): Promise<void> {
  const where = { hostname: "127.0.0.1", port: 0 };
  const port = mode === "front"
    ? (await serveApi({ fetch: answer }, {
      hostnames: [where.hostname],
      port: where.port,
      limits: connectionLimits(Math.max(connections, 100)),
    })).port
    : Deno.serve({ ...where, onListen() {} }, answer).addr.port;
  console.log(port);
}

/** A server in its own process. */
class Server {
  readonly #child: Deno.ChildProcess;
  #port = 0;

  private constructor(mode: string) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--allow-all",
        import.meta.filename!,
        "--serve",
        mode,
        "--connections",
        `${connections}`,
      ],
      stdout: "piped",
    }).spawn();
  }

  static async start(mode: string): Promise<Server> {
    const server = new Server(mode);
    const reader = server.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    server.#port = Number((await reader.read()).value);
    return server;
  }

  async connect(text = ""): Promise<Deno.TcpConn> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    connection.setNoDelay();
    await connection.write(new TextEncoder().encode(text));
    return connection;
  }

  /** Returns the resident memory in MB and the number of file descriptors, as text. */
  async footprint(): Promise<string> {
    // The server needs a moment to read everything that was sent.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const status = await Deno.readTextFile(`/proc/${this.#child.pid}/status`);
    const descriptors = [...Deno.readDirSync(`/proc/${this.#child.pid}/fd`)].length;
    const kilobytes = Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]);
    return `${(kilobytes / 1024).toFixed(0)} MB, ${descriptors} descriptors`;
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

/** Measures the requests per second over several connections with one request in flight each, and the median time. */
async function load(server: Server, clients: number): Promise<string> {
  const end = performance.now() + Number(options.seconds) * 1000;
  const request = new TextEncoder().encode(REQUEST);
  const times: number[] = [];
  await Promise.all(Array.from({ length: clients }, async () => {
    using connection = await server.connect(REQUEST);
    const buffer = new Uint8Array(4096);
    // All answers have the same length.
    const length = await connection.read(buffer) ?? 0;
    while (performance.now() < end) {
      const started = performance.now();
      await connection.write(request);
      for (let got = 0; got < length;) got += await connection.read(buffer) ?? length;
      times.push(performance.now() - started);
    }
  }));
  times.sort((a, b) => a - b);
  const perSecond = times.length / Number(options.seconds);
  return `${perSecond.toFixed(0)} requests/s, median ${times[times.length >> 1].toFixed(2)} ms`;
}

async function measure(mode: string): Promise<Record<string, string>> {
  const server = await Server.start(mode);
  const rows: Record<string, string> = {};
  try {
    for (const clients of [1, 32]) rows[`${clients} connections`] = await load(server, clients);
    rows["at rest"] = await server.footprint();
    for (
      const [name, text] of [["silent connections", ""], [
        "connections with 30 kB of a head",
        PARTIAL,
      ]]
    ) {
      const open = await Promise.all(
        Array.from({ length: connections }, () => server.connect(text)),
      );
      rows[`${connections} ${name}`] = await server.footprint();
      for (const connection of open) connection.close();
    }
  } finally {
    await server.stop();
  }
  return rows;
}

if (options.serve !== undefined) await serve(options.serve);
else {
  console.log(`Deno ${Deno.version.deno}, ${Deno.build.target}`);
  for (const [name, mode] of Object.entries(SERVERS)) {
    console.log(`\n${name}`);
    for (const [row, figure] of Object.entries(await measure(mode))) {
      console.log(`  ${row.padEnd(38)} ${figure}`);
    }
  }
}
