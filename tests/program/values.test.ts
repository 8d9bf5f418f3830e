// Values under keys, their versions and their copies, through the command line.

import assert from "node:assert/strict";
import { join } from "node:path";
import { command, NodeProcess, run, withNodes } from "./program.ts";

/** A running `dmnode follow`. */
class Follower {
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  readonly #stderr: Promise<string>;

  constructor(args: string[], cwd: string) {
    this.#child = command(["follow", ...args], { cwd }, "null").spawn();
    this.#reading = this.#read();
    this.#stderr = new Response(this.#child.stderr).text();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop()!;
      this.lines.push(...parts);
    }
  }

  async until(count: number): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (this.lines.length < count) {
      assert.ok(Date.now() < deadline, `${count} lines in vain: ${this.lines.join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async end(signal?: Deno.Signal): Promise<{ code: number; stderr: string }> {
    if (signal !== undefined) this.#child.kill(signal);
    const stderr = await this.#stderr;
    const { code } = await this.#child.status;
    await this.#reading;
    return { code, stderr };
  }
}

Deno.test(
  "a value under a key is stored if it has a version, and fetched by key from any node",
  withNodes(async (start, directory) => {
    const [{ api }, other] = [await start("1"), await start("2")];
    const dmnode = async (args: string[], stdin = "") => {
      const bytes = new TextEncoder().encode(stdin);
      return await run([...args, "--api", api], { cwd: directory, stdin: bytes });
    };
    const put = async (value: string, ...more: string[]) => {
      const { code, stdout, stderr } = await dmnode(
        ["put", "--key", "a b", "--json", ...more],
        value,
      );
      return code === 0 ? JSON.parse(stdout).seq : `${code} ${stderr}`;
    };
    assert.equal(await put("one", "--if-seq", "0"), 1);
    assert.equal(await put("two", "--if-seq", "1", "--min-replicas", "1"), 2);
    assert.match(
      await put("late", "--if-seq", "1"),
      /^1 dmnode: the newest version under this key is 2, not 1: .*--if-seq 2.*\n$/,
    );
    assert.match(
      await put("many", "--min-replicas", "21"),
      /^2 dmnode: .*1 to 20.*\(HTTP 400\).*\n$/,
    );

    assert.equal((await dmnode(["get", "--key", "a b"])).stdout, "two");
    const { public_key } = await (await fetch(`${api}/network/stats`)).json();
    const named = await dmnode(["get", "--key", "a b", "--public-key", public_key.toUpperCase()]);
    assert.equal(named.stdout, "two");
    const stranger = await dmnode(["get", "--key", "a b", "--public-key", "0".repeat(64)]);
    assert.match(stranger.stderr, /the key "a b" of 0{64}: .*HTTP 404/);
    const { stderr } = await run(["get", "--key", "a b", "--api", other.api], { cwd: directory });
    assert.match(
      stderr,
      /the key "a b" of this node .*HTTP 404/,
      "each node has its own key of that name",
    );

    const { hash } = JSON.parse((await dmnode(["stat", "--key", "a b", "--json"])).stdout);
    const table = (await dmnode(["stat", hash, "--key", "a b"])).stdout.split("\n");
    assert.match(table[0], /^NODE +ADDRESS +VERSION +AGE$/);
    assert.match(table[1], /^[0-9a-f]{40} +this node +2 +\d+ s$/);
    assert.equal(table[2], "mutable, version 2: 1 copy, 20 wanted");

    const list = (await dmnode(["published"])).stdout.split("\n");
    assert.match(
      list[1],
      new RegExp(`^${hash} +mutable +a b +2 +3 B +1 +(?:just now|\\d+ s ago) +in \\d+ (min|h)`),
    );
    const forgotten = await dmnode(["forget", "--key", "a b"]);
    assert.deepEqual([forgotten.code, forgotten.stdout], [0, ""]);
    assert.match((await dmnode(["forget", hash])).stderr, /does not publish .*HTTP 404/);
    assert.equal(JSON.parse((await dmnode(["published", "--json"])).stdout).total, 0);
    assert.match((await dmnode(["get", hash])).stderr, /HTTP 404/, "no other node holds it");

    assert.equal(await put("first", "--if-seq", "0"), 1);
    assert.match(await put("second", "--if-seq", "0"), /^1 dmnode: there is a value .* version 1/);
    const fresh = await dmnode(["put", "--key", "fresh", "--if-seq", "7"], "x");
    assert.match(fresh.stderr, /^dmnode: there is no value under this key yet[^\n]*\n$/);

    const wrong: [string[], RegExp][] = [
      [["put", "--if-seq", "1"], /--if-seq requires --key/],
      [["put", "--key", "k", "--if-seq", "x"], /--if-seq .*whole number from 0/],
      [["put", "--key", ""], /key is empty/],
      [["put", ""], /name is empty/],
      [["get"], /hash, or --key/],
      [["stat", hash, "--public-key", public_key], /--public-key requires --key/],
      [["follow", "--key", "k", "--public-key", "ab"], /64 hex digits/],
      [["forget", "xyz"], /40 hex digits/],
    ];
    for (const [args, message] of wrong) {
      const ended = await dmnode(args);
      assert.equal(ended.code, 2, args.join(" "));
      assert.match(ended.stderr, message);
      assert.equal(ended.stderr.trim().split("\n").length, 1);
    }
  }),
);

Deno.test(
  "stat of a large value counts the copies of its pieces",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const stdin = new Uint8Array(100_000).map((_, i) => i + (i >> 8));
    const put = await run(["put", "--api", api], { cwd: directory, stdin });
    const { stdout } = await run(["stat", put.stdout.trim(), "--api", api], { cwd: directory });
    assert.match(
      stdout,
      /chunked: 1 copy, 20 wanted\nits pieces {2}0 of 40 lost, 1\.0 copies on average, 2 wanted; 108 pieces in all\n$/,
    );
  }),
);

Deno.test(
  "follow prints each version, rewrites a file, reconnects, and ends with 0 at Ctrl-C",
  withNodes(async (start, directory) => {
    const node = await start("1"), { api } = node;
    const put = (value: string) =>
      run(["put", "--key", "k", "--api", api], {
        cwd: directory,
        stdin: new TextEncoder().encode(value),
      });
    await put("one");
    const text = new Follower(["--key", "k", "--api", api], directory);
    const json = new Follower(["--key", "k", "--api", api, "--json", "-o", "v.txt"], directory);
    await Promise.all([text.until(1), json.until(1)]);
    assert.match(text.lines[0], /^\d{4}-\d\d-\d\dT[\d:]+Z {2}version 1 {2}3 B$/);
    assert.equal(await Deno.readTextFile(join(directory, "v.txt")), "one");
    const { hash } = JSON.parse(json.lines[0]);
    const begun = Date.now();
    await put("second");
    await Promise.all([text.until(2), json.until(2)]);
    assert.ok(Date.now() - begun < 4_000, "at once");
    assert.equal(await Deno.readTextFile(join(directory, "v.txt")), "second");
    const { seq, size } = JSON.parse(json.lines[1]);
    assert.deepEqual([seq, size, hash.length], [2, 6, 40]);
    assert.deepEqual(await text.end("SIGINT"), { code: 0, stderr: "" });

    const stopping = Date.now();
    assert.equal((await node.stop()).code, 0);
    assert.ok(Date.now() - stopping < 4_000, "a watching client does not delay the end");
    const again = new NodeProcess([
      "--p2p-port",
      "0",
      "--api-port",
      new URL(api).port,
      "--data-dir",
      join(directory, "1"),
    ], { cwd: directory });
    try {
      await again.line((line) => line.message.startsWith("Listening"));
      await put("third of them");
      await json.until(3);
      assert.equal(JSON.parse(json.lines[2]).seq, 3, "a version is not printed twice");
      assert.equal(await Deno.readTextFile(join(directory, "v.txt")), "third of them");
      const { code, stderr } = await json.end("SIGINT");
      assert.equal(code, 0);
      assert.match(stderr, /^dmnode: the connection was lost [^\n]*\n/);
      assert.match(stderr, /\ndmnode: connected again\n$/);
      const names = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
      assert.deepEqual(names, ["1", "v.txt"], "no temporary file is left");
    } finally {
      await again.stop("SIGKILL");
    }
    const gone = new Follower(["--key", "k", "--api", api], directory);
    assert.match((await gone.end()).stderr, /no node answers/);
  }),
);
