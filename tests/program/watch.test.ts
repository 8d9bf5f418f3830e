// `dmnode watch` on a terminal and in a pipe, with nodes that come and go.

import assert from "node:assert/strict";
import { join } from "node:path";
import { command, NodeProcess, run, withNodes } from "./program.ts";
import { TestTerminal } from "./terminal.ts";

const SIGTERM = 15;

/** The lines of JSON that a process prints. */
class Lines {
  readonly all: Record<string, unknown>[] = [];
  readonly #reading: Promise<void>;

  constructor(readonly child: Deno.ChildProcess) {
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.all.push(...lines.map((line) => JSON.parse(line)));
    }
  }

  async until(
    isWanted: (line: Record<string, unknown>) => boolean,
  ): Promise<Record<string, unknown>> {
    for (const deadline = Date.now() + 30_000;;) {
      const found = this.all.find(isWanted);
      if (found !== undefined) return found;
      assert.ok(Date.now() < deadline, `waited in vain: ${JSON.stringify(this.all.slice(-5))}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async end(signal: Deno.Signal): Promise<{ code: number; stderr: string }> {
    this.child.kill(signal);
    const stderr = await new Response(this.child.stderr).text();
    const { code } = await this.child.status;
    await this.#reading;
    return { code, stderr };
  }
}

const idOf = async (api: string): Promise<string> =>
  (await (await fetch(`${api}/network/stats`)).json()).node_id;

Deno.test(
  "the view shows node, peers and events, fits the window, and restores the terminal at q",
  withNodes(async (start, directory) => {
    const node = await start("1");
    await using terminal = new TestTerminal(["watch", "--api", node.api], {
      cwd: directory,
      columns: 100,
      rows: 30,
    });
    const id = await idOf(node.api);
    const first = await terminal.until(/Lookups/);
    assert.ok(first.includes(id), first);
    assert.match(first, /ready.*version \d+\.\d+\.\d+/);
    assert.match(first, new RegExp(`UDP ${node.udp}`));
    assert.match(first, /No peers yet/);
    assert.match(first, /q or Ctrl-C ends this$/);

    const other = await start("2", ["--bootstrap", node.udp]);
    const otherId = await idOf(other.api);
    await terminal.until(/1 healthy/);
    const joined = await terminal.until(/Best peers\n/);
    assert.match(
      joined,
      new RegExp(`peer\\.join +${otherId.slice(0, 8)} joined from ${other.udp}`),
    );
    await terminal.until(new RegExp(`^${otherId.slice(0, 12)}.*${other.udp} +healthy`, "m"));
    const bytes = new TextEncoder().encode("a value");
    await run(["put", "--api", node.api], { cwd: directory, stdin: bytes });
    await terminal.until(/data\.publish +[0-9a-f]{8} 7 B published on 2 nodes/);
    await terminal.until(/▁|█/);

    await terminal.resize(40, 12);
    const small = await terminal.until((text) =>
      text.includes("q or Ctrl-C") && !text.includes(id)
    );
    assert.equal(terminal.screen.length, 12);
    assert.match(small, /^dmnode {2}[0-9a-f]{10}…/);
    await terminal.resize(160, 40);
    await terminal.until((text) => text.includes(id) && /q or Ctrl-C ends this$/.test(text));
    for (const [columns, rows] of [[1, 1], [3, 2], [20, 5], [100, 30]]) {
      await terminal.resize(columns, rows);
    }
    await terminal.until(/peer\.join/);

    assert.equal(terminal.isRestored, false);
    await terminal.type("x\x1b[A");
    await terminal.type("q");
    assert.equal(await terminal.ended(), 0);
    assert.ok(terminal.isRestored);
    assert.equal(terminal.text, "", "nothing is left of it");
  }),
);

Deno.test(
  "Ctrl-C, SIGTERM and a closed terminal end the view, and restore the terminal",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const ends: [(terminal: TestTerminal) => Promise<void>, number][] = [
      [(terminal) => terminal.type("\x03"), 0],
      [(terminal) => terminal.signal(SIGTERM), 0],
    ];
    for (const [end, status] of ends) {
      await using terminal = new TestTerminal(["watch", "--api", api], { cwd: directory });
      await terminal.until(/Traffic/);
      await end(terminal);
      assert.equal(await terminal.ended(), status);
      assert.ok(terminal.isRestored);
    }
    await using terminal = new TestTerminal(["watch", "--api", api], { cwd: directory });
    await terminal.until(/Traffic/);
    await terminal.hangUp();
    await terminal.ended();
  }),
);

Deno.test(
  "a terminal that can't redraw gets a line for the node and for each event",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    await using terminal = new TestTerminal(["watch", "--api", api], {
      cwd: directory,
      columns: 120,
      env: { TERM: "dumb" },
    });
    await terminal.until(/^\d\d:\d\d:\d\d hello +Connected to /m);
    await terminal.until(
      /^\d\d:\d\d:\d\d node +ready; peers 0 healthy, 0 degraded, 0 unhealthy; in /m,
    );
    assert.ok(!terminal.raw.includes("\u001b"));
    await terminal.type("\x03");
    assert.equal(await terminal.ended(), 0);
  }),
);

Deno.test(
  "the view reports that the node is gone, and continues when it is back",
  withNodes(async (start, directory) => {
    const node = await start("1");
    const port = new URL(node.api).port;
    const args = ["watch", "--api", node.api];
    await using terminal = new TestTerminal(args, { cwd: directory });
    await using other = new TestTerminal(args, { cwd: directory });
    for (const one of [terminal, other]) await one.until(/^dmnode.* ready /);
    await node.stop();
    for (const one of [terminal, other]) {
      assert.match(await one.until(/^dmnode.* no connection /), /trying again/);
    }
    await other.type("q");
    assert.equal(await other.ended(), 0, "no connection is waited for");
    const again = new NodeProcess([
      "--p2p-port",
      "0",
      "--api-port",
      port,
      "--data-dir",
      join(directory, "1"),
    ], { cwd: directory });
    try {
      await terminal.until(/^dmnode.* ready /);
      await terminal.type("q");
      assert.equal(await terminal.ended(), 0);
    } finally {
      await again.stop("SIGKILL");
    }
  }),
);

Deno.test(
  "in a pipe, each event of the selected types is a line of JSON, across a restart",
  withNodes(async (start, directory) => {
    const node = await start("1", [], { env: { API_TOKEN: "a-token-of-some-length" } });
    const env = { API_TOKEN: "a-token-of-some-length" };
    const options = { cwd: directory, env };
    const lines = new Lines(
      command(["watch", "--types", "peer.*,data.publish", "--api", node.api], options, "null")
        .spawn(),
    );
    const hello = await lines.until(({ type }) => type === "hello");
    assert.equal((hello.data as Record<string, unknown>).node_id, await idOf(node.api));
    const put = (text: string) =>
      run(["put", "--api", node.api], { ...options, stdin: new TextEncoder().encode(text) });
    await put("one");
    await lines.until(({ type }) => type === "data.publish");
    assert.ok(lines.all.every(({ type }) => type !== "stats" && type !== "lookup"));

    const port = new URL(node.api).port;
    await node.stop();
    const again = new NodeProcess([
      "--p2p-port",
      "0",
      "--api-port",
      port,
      "--data-dir",
      join(directory, "1"),
    ], options);
    try {
      await lines.until((line) => line.type === "hello" && line !== hello);
      await put("two");
      await lines.until((line) =>
        line.type === "data.publish" &&
        line !== lines.all.find(({ type }) => type === "data.publish")
      );
      const { code, stderr } = await lines.end("SIGINT");
      assert.equal(code, 0);
      assert.match(stderr, /^dmnode: the connection was lost.*\n(.*\n)*dmnode: connected again\n$/);
    } finally {
      await again.stop("SIGKILL");
    }
  }),
);

Deno.test(
  "a node that can't be watched is reported in one line on standard error",
  withNodes(async (start, directory) => {
    const { api } = await start("1", [], { env: { API_TOKEN: "a-token-of-some-length" } });
    const gone = await run(["watch", "--api", "http://127.0.0.1:9"], { cwd: directory });
    assert.deepEqual([gone.code, gone.stdout], [1, ""]);
    assert.match(gone.stderr, /^dmnode: no node answers at http:\/\/127\.0\.0\.1:9 .*\n$/);
    const wrong = await run(["watch", "--api", api], { cwd: directory });
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /^dmnode: [^\n]*requires a token: set API_TOKEN[^\n]*\n$/);
    const env = { API_TOKEN: "a-token-of-some-length" };
    const types = await run(["watch", "--types", "peers", "--api", api], { cwd: directory, env });
    assert.equal(types.code, 2);
    assert.match(types.stderr, /^dmnode: [^\n]*no event "peers"[^\n]*\n$/);
    await using terminal = new TestTerminal(["watch", "--api", "http://127.0.0.1:9"], {
      cwd: directory,
    });
    assert.equal(await terminal.ended(), 1);
    assert.match(terminal.text, /^dmnode: no node answers/);
    assert.ok(!terminal.raw.includes("\x1b[?1049h"), "the screen is left alone");
  }),
);
