// The client commands send the API token only to the server that the user chose.

import assert from "node:assert/strict";
import { join } from "node:path";
import { run, type RunOptions } from "./program.ts";

const TOKEN = "a-token-of-some-length";

/** A server that counts the requests with TOKEN. */
class RecordingServer {
  tokens = 0;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(answer: () => Response = () => Response.json({})) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, ({ headers }) => {
      if (headers.get("authorization") === `Bearer ${TOKEN}`) this.tokens++;
      return answer();
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  async [Symbol.asyncDispose]() {
    await this.#server.shutdown();
  }
}

/** Runs `dmnode stats` in a new directory with these files. */
async function stats(
  { files = {}, args = [], env }: RunOptions & {
    readonly files?: Readonly<Record<string, string>>;
    readonly args?: readonly string[];
  },
) {
  const cwd = await Deno.makeTempDir({ prefix: "dmnode-secrets-" });
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(join(cwd, name), text, { mode: 0o600 });
    }
    return await run(["stats", ...args], { cwd, env });
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
}

/** A URL of another machine, at which nothing ever answers: .invalid is reserved (RFC 6761). */
const ELSEWHERE = "http://node.invalid:8080";

const REFUSED =
  /^dmnode: the API_TOKEN in .* is not sent to http[^\n]*: set both in the environment/;
const SENT = /^dmnode: no node answers at /;

const CASES: Readonly<Record<string, Parameters<typeof stats>[0] & { readonly expected: RegExp }>> =
  {
    "a URL in .env gets no token from the environment": {
      files: { ".env": `DMNODE_API=${ELSEWHERE}` },
      env: { API_TOKEN: TOKEN },
      expected: REFUSED,
    },
    "a URL in .env gets no token from a file that the environment names": {
      files: { ".env": `DMNODE_API=${ELSEWHERE}`, token: TOKEN },
      env: { API_TOKEN_FILE: "token" },
      expected: REFUSED,
    },
    "a URL in .env gets no token from a file that .env names": {
      files: { ".env": `DMNODE_API=${ELSEWHERE}\nAPI_TOKEN_FILE=token`, token: TOKEN },
      expected: REFUSED,
    },
    "a host in .env gets no token from the environment": {
      files: { ".env": "API_HOST=node.invalid" },
      env: { API_TOKEN: TOKEN, API_PORT: "8080" },
      expected: REFUSED,
    },
    "a port in .env gets no token from the environment": {
      files: { ".env": "API_PORT=8081" },
      env: { API_TOKEN: TOKEN, API_HOST: "node.invalid" },
      expected: REFUSED,
    },
    "a URL in the environment gets no token from .env": {
      files: { ".env": `API_TOKEN=${TOKEN}` },
      env: { DMNODE_API: ELSEWHERE },
      expected: REFUSED,
    },
    "--api gets no token from .env": {
      files: { ".env": `API_TOKEN=${TOKEN}` },
      args: ["--api", ELSEWHERE],
      expected: REFUSED,
    },
    "a URL in a named file gets no token from the environment": {
      files: { "node.env": `DMNODE_API=${ELSEWHERE}` },
      args: ["--env-file", "node.env"],
      env: { API_TOKEN: TOKEN },
      expected: REFUSED,
    },
    "the environment may give both": {
      env: { DMNODE_API: ELSEWHERE, API_TOKEN: TOKEN },
      expected: SENT,
    },
    ".env may give both": {
      files: { ".env": `DMNODE_API=${ELSEWHERE}\nAPI_TOKEN=${TOKEN}` },
      expected: SENT,
    },
    "a named file may give both, and name a file with the token": {
      files: { "node.env": `DMNODE_API=${ELSEWHERE}\nAPI_TOKEN_FILE=token`, token: TOKEN },
      args: ["--env-file", "node.env"],
      expected: SENT,
    },
    "--api goes with a token in the environment": {
      args: ["--api", ELSEWHERE],
      env: { API_TOKEN: TOKEN },
      expected: SENT,
    },
    "--api goes with a token in a named file": {
      files: { "node.env": `API_TOKEN=${TOKEN}` },
      args: ["--api", ELSEWHERE, "--env-file", "node.env"],
      expected: SENT,
    },
    "a URL without a token needs no common source": {
      files: { ".env": `DMNODE_API=${ELSEWHERE}` },
      expected: SENT,
    },
    "the file of a token must look like one": {
      files: { ".env": "API_TOKEN_FILE=key", key: "-----BEGIN OPENSSH PRIVATE KEY-----\n" },
      expected: /^dmnode: API_TOKEN: the value of 35 characters in key: expected at most 1024/,
    },
    "a directory is no file with a token": {
      env: { API_TOKEN_FILE: "." },
      expected: /^dmnode: API_TOKEN_FILE: "\." .*not a regular file/,
    },
  };

for (const [name, { expected, ...setup }] of Object.entries(CASES)) {
  Deno.test(`the token: ${name}`, async () => {
    const { stderr } = await stats(setup);
    assert.match(stderr, expected);
    assert.ok(!stderr.includes(TOKEN), "the token is not shown");
  });
}

Deno.test("only loopback addresses and localhost count as this machine", async () => {
  const disguised = [
    "http://127.0.0.1.node.invalid",
    "http://localhost.node.invalid",
    "http://[::ffff:192.0.2.1]:9",
    "http://0.0.0.0:9",
    "http://128.0.0.1:9",
  ];
  const loopback = [
    "http://127.1.2.3:9",
    "http://2130706433:9",
    "http://[::1]:9",
    "http://localhost:9",
  ];
  const results = await Promise.all(
    [...disguised, ...loopback].map((url) =>
      stats({ files: { ".env": `DMNODE_API=${url}` }, env: { API_TOKEN: TOKEN } })
    ),
  );
  results.forEach(({ stderr }, i) => assert.match(stderr, i < disguised.length ? REFUSED : SENT));
});

Deno.test("a URL with a user name is refused, as its host is easily misread", async () => {
  const { code, stderr } = await stats({ env: { DMNODE_API: "http://127.0.0.1@node.invalid" } });
  assert.equal(code, 2);
  assert.match(stderr, /^dmnode: DMNODE_API: .*expected a URL such as/);
});

Deno.test("a redirect is reported and not followed", async () => {
  await using target = new RecordingServer();
  await using node = new RecordingServer(() => Response.redirect(`${target.url}/network/stats`));
  const { stderr } = await stats({ env: { DMNODE_API: node.url, API_TOKEN: TOKEN } });
  assert.match(stderr, /^dmnode: the server at .* redirects to http:.*: if that is the node/);
  assert.equal(node.tokens, 1);
  assert.equal(target.tokens, 0);
});

Deno.test("requests to this machine ignore a proxy", async () => {
  const answer = () => Response.json({ title: "Teapot" }, { status: 418 });
  await using proxy = new RecordingServer(answer);
  await using node = new RecordingServer(answer);
  const proxies = ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"];
  const noProxies: Record<string, string>[] = [{}, { no_proxy: "node.invalid" }, { NO_PROXY: "" }];
  const port = new URL(node.url).port;
  for (const [i, name] of proxies.entries()) {
    for (const others of noProxies) {
      const DMNODE_API = i % 2 === 0 ? node.url : `http://localhost:${port}`;
      const env = { ...others, [name]: proxy.url, DMNODE_API, API_TOKEN: TOKEN };
      assert.match((await stats({ env })).stderr, /teapot \(HTTP 418\)/);
    }
  }
  assert.equal(node.tokens, proxies.length * noProxies.length);
  assert.equal(proxy.tokens, 0);
});
