// The command line in all conditions: wrong usage, nodes that are gone, hang or refuse, colors, widths and pipes.

import assert from "node:assert/strict";
import { join } from "node:path";
import { wantsColor } from "../../src/cli/terminal/terminal.ts";
import { command, invocation, run, withNodes } from "./program.ts";
import { TestTerminal } from "./terminal.ts";

const HASH = "0123456789012345678901234567890123456789";

/** Checks that a command fails with one line on standard error, and prints nothing else. */
async function refused(args: string[], code: number, message: RegExp, env = {}, cwd?: string) {
  const ended = await run(args, { env, cwd });
  assert.equal(ended.code, code, `${args.join(" ")}: ${ended.stderr}`);
  assert.equal(ended.stdout, "", args.join(" "));
  assert.match(ended.stderr, /^dmnode: [^\n]+\n$/);
  assert.match(ended.stderr, message, args.join(" "));
}

Deno.test("wrong usage ends with 2 and one line that names the problem and the help to read", async () => {
  const cases: [string[], RegExp][] = [
    [["peer"], /no command "peer": did you mean peers\? \(see dmnode --help\)/],
    [["statz"], /did you mean stat/],
    [["frobnicate"], /no command "frobnicate" \(see/],
    [["identity", "exprot"], /"exprot": did you mean export\? \(see dmnode identity --help\)/],
    [["help", "nosuch"], /no command "nosuch"/],
    [["peers", "--jsn"], /'--jsn' \(Did you mean --json\?\) \(see dmnode peers --help\)/],
    [["--p2pport", "1"], /Did you mean --p2p-port/],
    [["--allow-net", "10.0.0.0/8"], /write --allow-net=10\.0\.0\.0\/8/],
    [["doctor", "--allow-net", "dht.example.org"], /write --allow-net=dht\.example\.org/],
    [["start", "--allow-net", "192.0.2.1:8000"], /write --allow-net=192\.0\.2\.1:8000/],
    [["ping", "abc"], /40 hex digits, or the first 4 or more/],
    [["ping", "127.0.0.1"], /HOST:PORT/],
    [["peers", "--allow-net"], /unknown option '--allow-net'/],
    [["peers", "--health", "sick"], /healthy, degraded, unhealthy/],
    [["peers", "--limit", "0"], /whole number from 1 to 10000/],
    [
      ["--json", "peers"],
      /follow their command: dmnode peers --json \.\.\. \(see dmnode peers --help\)/,
    ],
    [["--p2p-port", "9000", "start"], /follow their command: dmnode start --p2p-port/],
    [["peers", "a", "b"], /too many arguments/],
    [["peers", HASH, "--limit", "3"], /apply to the list/],
    [["put", "--if-seq", "x", "--key", "k"], /--if-seq.*whole number from 0/],
    [["put", "--if-seq", "1"], /--if-seq requires --key/],
    [["put", "--min-replicas", "0"], /whole number from 1 to 128/],
    [["put", "--ttl", "59m"], /time from 1h to 7d/],
    [["put", "--ttl", "8d"], /time from 1h to 7d/],
    [["put", "--ttl", "-1h"], /time from 1h to 7d|argument missing/],
    [["pin", "--ttl", "soon", HASH], /time from 1h to 7d/],
    [["pin"], /a hash, or --key/],
    [["pin", "zzz"], /40 hex digits/],
    [["pin", HASH, "--public-key", "ab"], /--public-key requires --key/],
    [["pin", "--key", "k", "--public-key", "ab"], /64 hex digits/],
    [["unpin"], /a hash, or --key/],
    [["unpin", "zzz"], /40 hex digits/],
    [["pins", "--limit", "0"], /whole number from 1 to 1000/],
    [["discover"], /give an info-hash, or --service/],
    [["discover", "12".repeat(20), "--service", "chat"], /either an info-hash or --service/],
    [["announce", "12".repeat(19)], /is not an id: give 40 hex digits/],
    [["announce", "--service", "chat", "--port", "0"], /whole number from 1 to 65535/],
    [["get"], /a hash, or --key/],
    [["get", "zzz"], /40 hex digits/],
    [["find"], /missing required argument 'id'/],
    [["find", "zzz"], /40 hex digits \(see/],
    [["stats", "--api", "127.0.0.1:80"], /URL such as http:/],
    [["stats", "--api", "ftp://127.0.0.1"], /URL such as http:/],
    [["stats", "--timeout", "0"], /number from 0\.1 to 3600/],
    [
      ["stats", "--env-file", "missing"],
      /^dmnode: missing can't be read: No such file or directory\n$/,
    ],
    [["completion", "powershell"], /bash, zsh, fish/],
    [["watch", "--since", "x"], /whole number/],
    [["stats", "--color", "sometimes"], /auto, always, never/],
    [["swarm"], /--nodes <n>' not specified/],
  ];
  await Promise.all(cases.map(([args, message]) => refused(args, 2, message)));
  await refused(["stats"], 2, /DMNODE_API: "x y" in the environment/, { DMNODE_API: "x y" });
});

Deno.test("an absent node or another server is reported in one line, without a stack trace", async () => {
  const quiet = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const answers: Record<string, () => Response> = {
    "/html": () => new Response("<h1>Hello</h1>"),
    "/404": () => new Response("not here", { status: 404 }),
    "/array": () => Response.json([]),
    "/null": () => Response.json(null),
    "/other": () => Response.json({ other: true }),
    "/loop": () =>
      new Response(null, { status: 302, headers: { location: "/loop/network/stats" } }),
    "/busy": () =>
      Response.json({ title: "Too Many Requests", detail: "Over the limit." }, {
        status: 429,
        headers: { "retry-after": "7" },
      }),
    "/full": () =>
      Response.json({ title: "Insufficient Storage", detail: "No room." }, { status: 507 }),
    "/evil": () => Response.json({ title: "Conflict", detail: "\x1b[2Jboo\nbar" }, { status: 409 }),
  };
  const server = Deno.serve(quiet, (request) => {
    const path = new URL(request.url).pathname;
    return answers[Object.keys(answers).find((name) => path.startsWith(`${name}/`))!]();
  });
  const at = (path: string) => `http://127.0.0.1:${server.addr.port}${path}`;
  try {
    const cases: [string, RegExp][] = [
      ["http://127.0.0.1:9", /no node answers at http:\/\/127\.0\.0\.1:9 .*is it running/],
      ["http://nosuchname.invalid", /no node answers at http:\/\/nosuchname\.invalid/],
      [at("/html"), /is not a dmnode/],
      [at("/404"), /is not a dmnode \(HTTP 404\)/],
      [at("/array"), /is not a dmnode/],
      [at("/null"), /is not a dmnode/],
      [at("/other"), /is not a dmnode/],
      [at("/loop"), /redirects to \/loop\/network\/stats/],
      [at("/busy"), /try again in 7 seconds \(over the limit\)/],
      [at("/evil"), /\?\[2Jboo\?bar \(HTTP 409\)/],
    ];
    const store = ["put", "deno.json", "--api", at("/full")];
    await Promise.all([
      ...cases.map(([api, message]) => refused(["stats", "--api", api], 1, message)),
      refused(
        store,
        1,
        /no room \(HTTP 507\): raise STORAGE_LIMIT on the other nodes, add nodes, or/,
      ),
    ]);
  } finally {
    await server.shutdown();
  }
});

Deno.test(
  "a command fails if the node hangs",
  withNodes(async (start, directory) => {
    const node = await start("1");
    const stdin = new TextEncoder().encode("x");
    const { stdout } = await run(["put", "--api", node.api], { stdin, cwd: directory });
    node.signal("SIGSTOP");
    try {
      const flags = ["--api", node.api, "--timeout", "0.4"];
      for (const args of [["stats"], ["find", HASH], ["get", stdout.trim()], ["watch"]]) {
        await refused([...args, ...flags], 1, /has sent nothing for/);
      }
      const put = await run(["put", ...flags], { stdin, cwd: directory });
      assert.match(put.stderr, /^dmnode: the node at .* has sent nothing for[^\n]*\n$/);
      assert.equal(put.code, 1);
    } finally {
      node.signal("SIGCONT");
    }
  }),
);

Deno.test(
  "commands say that a node has no peers, and that its settings permit no other address",
  withNodes(async (start) => {
    const { api } = await start("1");
    const alone = [["find", HASH], ["peers"], ["discover", HASH]].map(async (args) => {
      const ended = await run([...args, "--api", api]);
      const { code, stdout, stderr } = ended;
      assert.deepEqual([code, stdout], [0, ""], args.join(" "));
      assert.match(stderr, /^dmnode: this node has no peers: [^\n]* dmnode connect [^\n]*\n$/);
    });
    const permitted = /192\.0\.2\.1:1 is not permitted.* Add 192\.0\.2\.1 to the node's ALLOW_NET/;
    await Promise.all([
      ...alone,
      refused(["connect", "192.0.2.1:1", "--api", api], 1, permitted),
      refused(
        ["ping", HASH, "--api", api],
        1,
        /no node .* was found, because this node has no peers/,
      ),
    ]);
  }),
);

Deno.test(
  "commands find the node and its token in the environment and in .env",
  withNodes(async (start, directory) => {
    const token = "a-token-of-some-length";
    const node = await start("1", [], { env: { API_TOKEN: token } });
    const port = new URL(node.api).port;
    await refused(["find", HASH, "--api", node.api], 1, /requires a token: set API_TOKEN/);
    const wrong = { API_TOKEN: "another" };
    await refused(["find", HASH, "--api", node.api], 1, /API_TOKEN in the environment/, wrong);
    const write = (name: string, text: string) => Deno.writeTextFile(join(directory, name), text);
    await write(".env", `API_TOKEN=${token}\nAPI_PORT=${port}\n`);
    assert.equal((await run(["find", HASH], { cwd: directory })).code, 0);
    await write("other.env", `API_TOKEN=other\nDMNODE_API=${node.api}/\n`);
    const args = ["find", HASH, "--env-file", "other.env"];
    await refused(args, 1, /API_TOKEN in other\.env/, {}, directory);
    assert.equal((await run(args, { cwd: directory, env: { API_TOKEN: token } })).code, 0);
    await write(".env", "DMNODE_API=nonsense\n");
    await refused(["stats"], 2, /DMNODE_API: "nonsense" in \.env/, {}, directory);
  }),
);

Deno.test(
  "tables fit the terminal and shorten ids, which commands accept; in a pipe ids are complete",
  withNodes(async (start, directory) => {
    const first = await start("1");
    const second = await start("2", ["--bootstrap", first.udp]);
    await second.line(({ message }) => message.startsWith("Joined"));
    const { peers: [{ node_id, address }] } = JSON.parse(
      (await run(["peers", "--api", second.api, "--json"])).stdout,
    );
    const options = { cwd: directory, env: { DMNODE_API: second.api } };

    const piped = (await run(["peers"], options)).stdout;
    assert.match(
      piped,
      new RegExp(`^NODE +ADDRESS.*\n${node_id} +${address} +healthy .*\n1 of 1 contact\n$`),
    );
    assert.ok(!piped.includes("\x1b"));
    for (
      const [columns, shown] of [[120, node_id], [80, `${node_id.slice(0, 12)}`], [50, "NODE"]]
    ) {
      await using terminal = new TestTerminal(["peers"], { ...options, columns });
      assert.equal(await terminal.ended(), 0);
      assert.ok(terminal.text.includes(shown), terminal.text);
      assert.ok(terminal.raw.includes("\x1b[32mhealthy"), "green");
      assert.match(terminal.text, /(^|\s)dmnod/m, "nothing is left out");
      for (const line of terminal.plain.split("\r\n")) {
        assert.ok(line.length <= columns, line);
      }
    }
    for (const short of [node_id.slice(0, 12), `${node_id.slice(0, 5).toUpperCase()}…`]) {
      assert.equal(
        JSON.parse((await run(["peers", short, "--json"], options)).stdout).node_id,
        node_id,
      );
    }
    const detail = (await run(["peers", node_id.slice(0, 12)], options)).stdout;
    assert.match(detail, /^score +0\.\d\d = answers \d\.\d\d × speed/m);
    assert.match(detail, /\d{4}-\d\d-\d\dT[\d:]+Z {2}joined/);
    assert.equal((await run(["ping", node_id.slice(0, 12)], options)).code, 0);
    await refused(["ping", "0".repeat(12)], 1, /no peer's id begins with 000/, options.env);

    const pinged = JSON.parse((await run(["ping", first.udp, "--json"], options)).stdout);
    assert.deepEqual([pinged.node_id, pinged.address], [node_id, first.udp]);
    assert.match(
      (await run(["ping", `localhost:${first.udp.split(":")[1]}`], options)).stdout,
      /healthy\n$/,
    );
    await refused(["ping", "127.0.0.1:9"], 1, /nobody answered at 127\.0\.0\.1:9/, options.env);
    await refused(["ping", "192.0.2.1:9"], 1, /--allow-net/, options.env);
    await refused(["ping", "127.0.0.1:"], 2, /port/, options.env);

    const hash = (await run(["put"], { ...options, stdin: new TextEncoder().encode("a value") }))
      .stdout.trim();
    const byPrefix = await run(["get", hash.slice(0, 10)], options);
    assert.equal(byPrefix.stdout, "a value");
    const found = (await run(["find", hash, "--trace"], options)).stdout;
    assert.match(found, /^HOP +NODE[^]* responded\n[^]*\nNODE[^]*1 hop, 1 query, /);

    const stats = (await run(["stats"], options)).stdout;
    for (
      const part of [/^peers +1 healthy, 0 degraded, 0 unhealthy$/m, /^Traffic$/m, /^ready +yes: /m]
    ) {
      assert.match(stats, part);
    }
    assert.ok(!/\bundefined|NaN|\[object/.test(stats), stats);
    await using narrow = new TestTerminal(["stats"], { ...options, columns: 60, rows: 100 });
    assert.equal(await narrow.ended(), 0);
    for (const line of narrow.plain.split("\r\n")) {
      // A public key is the only word that is longer than a line.
      assert.ok(line.length <= 60 || /[0-9a-f]{64}/.test(line), line);
    }
  }),
);

Deno.test(
  "on a terminal, get shows text without control characters, and refuses other data",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const put = async (value: string | Uint8Array<ArrayBuffer>) => {
      const stdin = typeof value === "string" ? new TextEncoder().encode(value) : value;
      return (await run(["put", "--api", api], { cwd: directory, stdin })).stdout.trim();
    };
    const text = await put("one\r\n\x1b[2Jtwo\x07 öß");
    await using shown = new TestTerminal(["get", text, "--api", api], { cwd: directory });
    assert.equal(await shown.ended(), 0);
    assert.equal(shown.raw, "one\r\n?[2Jtwo? öß\r\n");
    const binary = await put(Uint8Array.of(0xff, 0xfe, 0, 1));
    await using kept = new TestTerminal(["get", binary, "--api", api], { cwd: directory });
    assert.equal(await kept.ended(), 1);
    assert.match(kept.text, /^dmnode: the value is not text: give -o FILE/);
    const empty = await put("");
    const { stdout } = await run(["get", empty, "--json", "--api", api], { cwd: directory });
    const { value, encoding, size } = JSON.parse(stdout);
    assert.deepEqual([value, encoding, size], ["", "utf8", 0]);

    await using typed = new TestTerminal(["put", "--api", api], { cwd: directory });
    await typed.until(/Ctrl-D/);
    await typed.type("typed\r\x04");
    assert.equal(await typed.ended(), 0);
    assert.match(typed.text, /\n[0-9a-f]{40}\nimmutable: 6 B on 1 node in /);
  }),
);

Deno.test(
  "a closed pipe is no failure, but a full disk is one",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const stdin = crypto.getRandomValues(new Uint8Array(65_536).fill(1));
    const hash = (await run(["put", "--api", api], { cwd: directory, stdin })).stdout.trim();
    const { path, args } = invocation([], {});
    const shell = async (line: string) => {
      const { code, stderr } = await new Deno.Command("bash", {
        args: ["-c", `dmnode() { "\${all[@]}" "$@"; }; all=("$@"); ${line}`, "bash", path, ...args],
        cwd: directory,
        env: { DMNODE_API: api },
      }).output();
      return { code, stderr: new TextDecoder().decode(stderr) };
    };
    const quiet = [
      "dmnode --help | true",
      "dmnode stats --json | head -1",
      "dmnode completion bash | head -c 1",
      `dmnode get ${hash} | head -c 1`,
      "dmnode watch --types stats | head -1",
    ];
    for (const line of quiet) {
      assert.deepEqual(await shell(`${line} >/dev/null; exit \${PIPESTATUS[0]}`), {
        code: 0,
        stderr: "",
      }, line);
    }
    const full = await shell("dmnode stats > /dev/full");
    assert.equal(full.code, 1);
    assert.match(
      full.stderr,
      /^dmnode: standard output can't be written: No space left on device\n$/,
    );
  }),
);

Deno.test("--color decides about colors, then FORCE_COLOR, then NO_COLOR, then the terminal", async () => {
  const cases: [Parameters<typeof wantsColor>[0], Record<string, string>, boolean, boolean][] = [
    ["auto", {}, true, true],
    ["auto", {}, false, false],
    ["auto", { NO_COLOR: "1" }, true, false],
    ["auto", { NO_COLOR: "" }, true, true],
    ["auto", { TERM: "dumb" }, true, false],
    ["auto", { FORCE_COLOR: "1" }, false, true],
    ["auto", { FORCE_COLOR: "1", NO_COLOR: "1" }, false, true],
    ["auto", { FORCE_COLOR: "0" }, true, false],
    ["auto", { FORCE_COLOR: "" }, true, true],
    ["never", { FORCE_COLOR: "1" }, true, false],
    ["always", { NO_COLOR: "1", TERM: "dumb" }, false, true],
  ];
  for (const [choice, env, isTerminal, wanted] of cases) {
    assert.equal(wantsColor(choice, (name) => env[name], isTerminal), wanted, JSON.stringify(env));
  }
  const directory = await Deno.makeTempDir();
  try {
    const doctor = async (args: string[], env = {}) =>
      (await run([
        "doctor",
        "--api",
        "http://127.0.0.1:9",
        "--p2p-port",
        "0",
        "--api-port",
        "0",
        ...args,
      ], {
        cwd: directory,
        env,
      })).stdout.includes("\x1b[");
    assert.equal(await doctor([]), false);
    assert.equal(await doctor([], { FORCE_COLOR: "1" }), true);
    assert.equal(await doctor(["--color", "always"]), true);
    assert.equal(await doctor(["--no-color"], { FORCE_COLOR: "1" }), false);
    await using terminal = new TestTerminal(["doctor", "--api", "http://127.0.0.1:9"], {
      cwd: directory,
      env: { NO_COLOR: "1" },
    });
    await terminal.ended();
    assert.ok(!terminal.raw.includes("\x1b["));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("sim and swarm show progress on a terminal, and Ctrl-C ends them with 130", async () => {
  await using sim = new TestTerminal(["sim", "--nodes", "2000", "--lookups", "20000"]);
  await sim.until(/^2,000 nodes: [\w ]+ \[#+\.*\] \d+ % [\d,]+ of [\d,]+, [\d,]+\/s, .*(left|…)/);
  await sim.type("\x03");
  assert.equal(await sim.ended(), 130);
  assert.equal(sim.text.replace("^C", ""), "", "its line is removed");

  await using swarm = new TestTerminal([
    "swarm",
    "--nodes",
    "30",
    "--rest",
    "600",
    "--api-port",
    "0",
    "--exit",
  ]);
  await swarm.until(/\nat rest \[[#.]+\] \d+ % \d+ of 600, 1\/s, \d+ min/, 60_000);
  await swarm.type("\x03");
  assert.equal(await swarm.ended(), 130);
  assert.doesNotMatch(swarm.text, /at rest|rror/);

  const child = command(["sim", "--nodes", "50", "--lookups", "10"], {}, "null").spawn();
  const { stderr } = await child.output();
  assert.equal(new TextDecoder().decode(stderr), "", "nothing in a pipe");
});
