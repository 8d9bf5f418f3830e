// Configuration: every variable, its layers, its refusals, and the files that describe it.

import assert from "node:assert/strict";
import {
  ConfigError,
  describeScope,
  ENV_NAMES,
  loadConfig,
  parseAllowNet,
  SETTINGS,
} from "../src/config.ts";
import { cidrIncludes, isLoopbackHost } from "../src/krpc/address_range.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";

/** The message with which `load` fails; it has to be one line. */
function refusal(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.doesNotMatch(error.message, /\p{Cc}/u);
    return error.message;
  }
  return assert.fail("nothing was refused");
}

const fromEnv = (name: string, value: string) => loadConfig({ env: { [name]: value } });

Deno.test("without any source the defaults of the contract hold", () => {
  assert.deepEqual(loadConfig(), {
    p2pPort: 8000,
    p2pHost: "0.0.0.0",
    bootstrapNodes: [],
    bucketSize: 20,
    minReplicas: 1,
    maxPerSubnet: 2,
    alpha: 3,
    healthCheckIntervalMs: 60_000,
    apiHost: "127.0.0.1",
    apiPort: 8080,
    apiToken: null,
    apiOpenReads: false,
    apiAllowedHosts: [],
    apiRateLimit: 200,
    apiSendRateLimit: 50,
    apiMaxConnections: 1000,
    apiTrustedProxies: [],
    dataDir: "./data",
    logLevel: "info",
    logFormat: null,
    maxValueSize: 16_777_216,
    storageLimit: 1_073_741_824,
    nat: "auto",
    relay: 2048,
    allowNet: { mode: "loopback" },
    warnings: [],
  });
});

Deno.test("flags go before the environment, that before .env, that before defaults", () => {
  const envFile = "P2P_PORT=1\nAPI_PORT=1\nALPHA=1\n";
  const env = { P2P_PORT: "2", API_PORT: "2" };
  const config = loadConfig({ flags: { p2pPort: "3" }, env, envFile });
  assert.deepEqual(
    [config.p2pPort, config.apiPort, config.alpha, config.bucketSize],
    [3, 2, 1, 20],
  );
});

Deno.test("every flag reaches its setting under the name Commander gives it", () => {
  const config = loadConfig({
    flags: {
      p2pPort: "1",
      p2pHost: "::",
      bootstrap: "a:1",
      k: "8",
      minReplicas: "7",
      alpha: "4",
      healthCheckInterval: "5",
      apiHost: "localhost",
      apiPort: "0",
      dataDir: "/srv/x",
      logLevel: "debug",
      logFormat: "json",
      nat: "off",
      relay: "0",
      allowNet: true,
      envFile: "ignored",
    },
  });
  assert.deepEqual(
    { ...config, warnings: undefined },
    {
      ...loadConfig(),
      p2pPort: 1,
      p2pHost: "::",
      bootstrapNodes: [{ host: "a", port: 1 }],
      bucketSize: 8,
      minReplicas: 7,
      alpha: 4,
      healthCheckIntervalMs: 5000,
      apiHost: "localhost",
      apiPort: 0,
      dataDir: "/srv/x",
      logLevel: "debug",
      logFormat: "json",
      nat: "off",
      relay: 0,
      allowNet: { mode: "any" },
      warnings: undefined,
    },
  );
});

Deno.test("MIN_REPLICAS is at most K_BUCKET_SIZE", () => {
  assert.equal(loadConfig({ flags: { k: "30", minReplicas: "30" } }).minReplicas, 30);
  const message = refusal(() => loadConfig({ flags: { k: "5" }, env: { MIN_REPLICAS: "6" } }));
  assert.match(message, /^MIN_REPLICAS .*"6" in the environment: .*K_BUCKET_SIZE, which is 5$/);
});

Deno.test("an empty value counts as not set, but empties what is empty by default", () => {
  assert.equal(loadConfig({ env: { P2P_PORT: "" }, envFile: "P2P_PORT=9" }).p2pPort, 9);
  assert.equal(loadConfig({ env: { P2P_PORT: " " }, envFile: "P2P_PORT=" }).p2pPort, 8000);
  const envFile = "BOOTSTRAP_NODES=a:1\nAPI_TOKEN=secret\nLOG_FORMAT=json";
  const config = loadConfig({
    env: { API_TOKEN: "", LOG_FORMAT: "" },
    flags: { bootstrap: "" },
    envFile,
  });
  assert.deepEqual([config.bootstrapNodes, config.apiToken, config.logFormat], [[], null, null]);
  assert.match(refusal(() => loadConfig({ flags: { p2pPort: "" } })), /^P2P_PORT .*""/);
});

Deno.test("the configuration is frozen all the way down", () => {
  const config = loadConfig({ env: { BOOTSTRAP_NODES: "a:1" }, flags: { allowNet: "10.0.0.0/8" } });
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.warnings));
  assert.ok(Object.isFrozen(config.bootstrapNodes) && Object.isFrozen(config.bootstrapNodes[0]));
  assert.ok(config.allowNet.mode === "list" && Object.isFrozen(config.allowNet.entries[0]));
});

const BAD: Record<string, string[]> = {
  P2P_PORT: ["65536", "-1", "8000.5", "8e3", "0x1F40", "eight", "+8", "１", "99999999999999999999"],
  P2P_HOST: ["example.org", "256.0.0.1", "10.0.0", "0.0.0.0/0", "::g", "fe80::1%eth0", "01.2.3.4"],
  BOOTSTRAP_NODES: [
    "a",
    "a:",
    ":1",
    "a:0",
    "a:65536",
    "a:1:2",
    "::1",
    "::1:8000",
    "[::1]",
    "a b:1",
  ],
  K_BUCKET_SIZE: ["0", "129", "x"],
  MIN_REPLICAS: ["0", "21", "129", "all"],
  ALPHA: ["0", "17", "3.0"],
  MAX_PER_SUBNET: ["-1", "129", "two"],
  HEALTH_CHECK_INTERVAL: ["0", "86401", "60s", "1.5"],
  API_HOST: ["-x", "a_b!", "127.0.0.1:8080", "http://localhost", "256.1.1.1", "x".repeat(64)],
  API_PORT: ["65536", "http"],
  API_TOKEN: ["two words", "naïve", "a\tb", "x".repeat(1025)],
  API_TOKEN_FILE: ["a\0b"],
  API_OPEN_READS: ["yes", "1", "on"],
  API_ALLOWED_HOSTS: ["*", "a:1", "http://a", "a b", "a,-"],
  API_TRUSTED_PROXIES: ["proxy.example", "10.0.0.0/33", "*", "127.0.0.1:80", "::/129"],
  API_RATE_LIMIT: ["-1", "1000001", "many", "0.5"],
  API_SEND_RATE_LIMIT: ["-1", "1000001", "10/s"],
  API_MAX_CONNECTIONS: ["0", "20001", "x"],
  DATA_DIR: ["a\0b", "a\nb"],
  LOG_LEVEL: ["verbose", "warn", "1"],
  LOG_FORMAT: ["xml"],
  MAX_VALUE_SIZE: ["0", "16M", "268435457", "-5"],
  STORAGE_LIMIT: ["1G", "-1", "9007199254740992"],
  NAT: ["on", "upnp"],
  RELAY: ["on", "-1", "125000001"],
};

Deno.test("a bad value is refused in one line with variable, flag, value and what is allowed", () => {
  assert.deepEqual(Object.keys(BAD), SETTINGS.map((s) => s.name), "every variable is tried");
  for (const { name, flag } of SETTINGS) {
    for (const value of BAD[name]) {
      const message = refusal(() => fromEnv(name, value));
      assert.ok(message.startsWith(name), message);
      assert.ok(flag === null || message.includes(`(${flag})`), message);
      assert.match(message, /expected |requires/);
      assert.match(message, /in the environment/);
      if (name === "API_TOKEN") assert.ok(!message.includes(value), "the token is not shown");
      else assert.ok(message.includes(JSON.stringify(value)), message);
    }
  }
});

Deno.test("a refusal says which layer the value came from and stays short", () => {
  const envFileName = "other.env";
  const refused = (sources: Parameters<typeof loadConfig>[0]) => refusal(() => loadConfig(sources));
  assert.match(refused({ flags: { alpha: "x" } }), /^ALPHA \(--alpha\): "x" on the command line:/);
  assert.match(refused({ envFile: "ALPHA=x", envFileName }), /"x" in other\.env:/);
  assert.equal(
    refused({ env: { ALPHA: "x" } }),
    'ALPHA (--alpha): "x" in the environment: expected a whole number from 1 to 16',
  );
  assert.ok(refused({ env: { ALPHA: "9".repeat(10_000) } }).length < 250);
});

Deno.test("the limits themselves and surrounding blanks are taken", () => {
  const good: [string, string[]][] = [
    ["P2P_PORT", ["0", "65535", " 8000 "]],
    ["K_BUCKET_SIZE", ["1", "128"]],
    ["ALPHA", ["1", "16"]],
    ["HEALTH_CHECK_INTERVAL", ["1", "86400"]],
    ["MAX_VALUE_SIZE", ["1", "268435456"]],
    ["STORAGE_LIMIT", ["0", "9007199254740991"]],
    ["LOG_LEVEL", ["trace", "debug", "info", "warning", "error", "INFO"]],
    ["LOG_FORMAT", ["pretty", "json"]],
    ["NAT", ["auto", "off"]],
    ["RELAY", ["0", "125000000"]],
    ["P2P_HOST", ["::", "10.0.0.1", "[2001:db8::1]"]],
  ];
  for (const [name, values] of good) for (const value of values) fromEnv(name, value);
  assert.equal(fromEnv("P2P_HOST", "[2001:DB8::1]").p2pHost, "2001:db8::1");
});

Deno.test("bootstrap nodes may be names, IPv4 and [IPv6], once each", () => {
  const { bootstrapNodes } = fromEnv(
    "BOOTSTRAP_NODES",
    " Boot.Example.org.:8000 , 192.0.2.1:1,[2001:DB8:0::1]:65535, node_1:2,192.0.2.1:1,,",
  );
  assert.deepEqual(bootstrapNodes, [
    { host: "boot.example.org", port: 8000 },
    { host: "192.0.2.1", port: 1 },
    { host: "2001:db8::1", port: 65535 },
    { host: "node_1", port: 2 },
  ]);
  assert.match(
    refusal(() => fromEnv("BOOTSTRAP_NODES", "a:1,::1")),
    /"::1" has no port; expected \[::1\]:port/,
  );
});

Deno.test("an API beyond loopback requires a token", () => {
  for (const host of ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"]) {
    assert.equal(fromEnv("API_HOST", host).apiToken, null);
  }
  for (const host of ["0.0.0.0", "::", "192.168.1.1", "node.example.org", "localhost.example"]) {
    assert.match(refusal(() => fromEnv("API_HOST", host)), /^API_HOST .*requires an API_TOKEN/);
    const env = { API_HOST: host, API_TOKEN: "0123456789abcdef" };
    assert.deepEqual(loadConfig({ env }).warnings, []);
  }
  assert.match(loadConfig({ env: { API_HOST: "::", API_TOKEN: "x" } }).warnings[0], /API_TOKEN/);
  assert.ok(isLoopbackHost("::ffff:127.0.0.1") && !isLoopbackHost("128.0.0.1"));
});

Deno.test("API_TOKEN_FILE gives the token, and counts as one", () => {
  const files: Record<string, string> = {
    "/run/token": "from-the-file-0123\nanother line\n",
    "/run/crlf": "  token-with-blanks \r\n",
    "/run/empty": "\nsecond",
    "/run/odd": "two words of it",
  };
  const readFile = (path: string) => {
    if (files[path] === undefined) throw new Error(`No such file: ${path}\n    at open`);
    return files[path];
  };
  const load = (env: Record<string, string>) => loadConfig({ env, readFile });
  const beyond = load({ API_HOST: "0.0.0.0", API_TOKEN_FILE: "/run/token" });
  assert.deepEqual([beyond.apiToken, beyond.warnings], ["from-the-file-0123", []]);
  assert.equal(load({ API_TOKEN_FILE: " /run/crlf " }).apiToken, "token-with-blanks");
  assert.equal(load({ API_TOKEN_FILE: "", API_TOKEN: "x" }).apiToken, "x");
  assert.match(
    refusal(() => load({ API_TOKEN_FILE: "/run/empty" })),
    /^API_TOKEN_FILE: "\/run\/empty" in the environment: expected a token in its first line$/,
  );
  assert.match(refusal(() => load({ API_TOKEN_FILE: "/run/none" })), /can be read: No such file/);
  assert.match(
    refusal(() => load({ API_TOKEN_FILE: "/run/token", API_TOKEN: "x" })),
    /^API_TOKEN_FILE: .* expected no API_TOKEN beside it/,
  );
  const odd = refusal(() => load({ API_TOKEN_FILE: "/run/odd" }));
  assert.match(odd, /^API_TOKEN: the value of 15 characters in \/run\/odd: expected at most/);
});

Deno.test("hosts and proxies of the API are lists", () => {
  const config = loadConfig({
    env: {
      API_ALLOWED_HOSTS: "Node.Example.ORG., node_1,192.0.2.7,[2001:DB8::1]",
      API_TRUSTED_PROXIES: "127.0.0.1, 10.0.0.0/8,[::1],2001:db8::/32",
      API_OPEN_READS: "TRUE",
    },
  });
  assert.deepEqual(config.apiAllowedHosts, [
    "node.example.org",
    "node_1",
    "192.0.2.7",
    "2001:db8::1",
  ]);
  assert.deepEqual(
    config.apiTrustedProxies.map(({ address, prefix }) => [address.host, prefix]),
    [["127.0.0.1", 32], ["10.0.0.0", 8], ["::1", 128], ["2001:db8::", 32]],
  );
  assert.equal(config.apiOpenReads, true);
});

Deno.test("--allow-net: absent, alone, or a list of addresses, CIDRs and names", () => {
  assert.deepEqual(parseAllowNet(undefined), { mode: "loopback" });
  assert.deepEqual(parseAllowNet(false), { mode: "loopback" });
  assert.deepEqual(parseAllowNet(true), { mode: "any" });
  const scope = parseAllowNet(
    "10.0.0.0/8, Boot.example.org,192.0.2.7,2001:db8::/32,[::1],::ffff:10.0.0.0/104",
  );
  assert.equal(
    describeScope(scope),
    "10.0.0.0/8, boot.example.org, 192.0.2.7/32, 2001:db8::/32, ::1/128, 10.0.0.0/8 (--allow-net)",
  );
  assert.match(describeScope({ mode: "any" }), /any/);
  assert.match(describeScope({ mode: "loopback" }), /loopback/);
});

Deno.test("--allow-net: a bad entry is named; an empty list is no list", () => {
  const bad = [
    "10.0.0.0/33",
    "10.0.0/8",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "::1/129",
    "::ffff:10.0.0.0/95",
    "a.example/8",
    "10.0.0.1:80",
    "host:80",
    "*",
    "a b",
  ];
  for (const entry of bad) {
    const message = refusal(() => loadConfig({ flags: { allowNet: `192.0.2.1,${entry}` } }));
    assert.ok(message.startsWith("--allow-net: ") && message.includes(JSON.stringify(entry)));
  }
  for (const empty of ["", " ", ","]) {
    assert.match(refusal(() => parseAllowNet(empty)), /names nobody/);
  }
});

Deno.test("a CIDR includes the addresses that share its prefix", () => {
  const includes = (cidr: string, host: string) => {
    const scope = parseAllowNet(cidr);
    assert.ok(scope.mode === "list" && scope.entries[0].kind === "cidr");
    return cidrIncludes(scope.entries[0], Endpoint.parse(host, 1234)!);
  };
  assert.ok(includes("10.0.0.0/8", "10.255.1.2"));
  assert.ok(includes("10.9.9.9/8", "10.255.1.2"), "host bits don't matter");
  assert.ok(!includes("10.0.0.0/8", "11.0.0.0"));
  assert.ok(includes("10.0.0.0/8", "::ffff:10.1.1.1"));
  assert.ok(!includes("10.0.0.0/8", "::10.1.1.1"));
  assert.ok(includes("192.0.2.7", "192.0.2.7") && !includes("192.0.2.7", "192.0.2.6"));
  assert.ok(includes("192.0.2.6/31", "192.0.2.7") && !includes("192.0.2.6/31", "192.0.2.8"));
  assert.ok(includes("0.0.0.0/0", "255.0.0.1") && !includes("0.0.0.0/0", "::1"));
  assert.ok(includes("2001:db8::/33", "2001:db8:7fff::1"));
  assert.ok(!includes("2001:db8::/33", "2001:db8:8000::1"));
  assert.ok(includes("::1", "::1") && !includes("::1", "::2"));
  assert.ok(includes("2001:db8::/64", "2001:db8::ffff:1") && !includes("::/96", "::1:0:0"));
});

Deno.test(".env: dotenv's forms are read", () => {
  const envFile = "\uFEFF# comment\r\n\r\nexport ALPHA=5 # more\r\nLOG_LEVEL='debug'\r\n" +
    'DATA_DIR="/srv/a b"\r\nK_BUCKET_SIZE: 8\r\n P2P_PORT = 9000\r\nOTHER="two\r\nlines"\r\n';
  const config = loadConfig({ envFile });
  assert.deepEqual(
    [config.alpha, config.logLevel, config.dataDir, config.bucketSize, config.p2pPort],
    [5, "debug", "/srv/a b", 8, 9000],
  );
  assert.deepEqual(config.warnings, []);
});

Deno.test(".env: a line that is nothing is an error with its number, and shows no secret", () => {
  for (const line of ["P2P_PORT 9000", "just words", "=5", "!!", "\0\x01", "API_TOKEN hunter2"]) {
    const message = refusal(() => loadConfig({ envFile: `# one\nALPHA=3\n${line}\n` }));
    assert.match(message, /^\.env, line 3: /);
    assert.doesNotMatch(message, /hunter2/);
  }
});

Deno.test(".env: a name close to ours, or set twice, is a warning", () => {
  const warned = (envFile: string) => loadConfig({ envFile }).warnings;
  const typos: [string, string][] = [
    ["P2P_PROT", "P2P_PORT"],
    ["p2p_port", "P2P_PORT"],
    ["P2PPORT", "P2P_PORT"],
    ["BOOTSTRAP_NODE", "BOOTSTRAP_NODES"],
    ["K_BUCKETSIZE", "K_BUCKET_SIZE"],
    ["ALHPA", "ALPHA"],
    ["LOGLEVEL", "LOG_LEVEL"],
    ["nat", "NAT"],
    ["DMNODE_ALPHA", "ALPHA"],
    ["API-TOKEN", "API_TOKEN"],
  ];
  for (const [typo, meant] of typos) {
    assert.deepEqual(warned(`\n${typo}=1`), [
      `.env, line 2: "${typo}" is not a setting; did you mean ${meant}?`,
    ]);
  }
  assert.deepEqual(warned("\nALLOW_NET=true"), [
    ".env, line 2: ALLOW_NET is not a setting; use --allow-net",
  ]);
  assert.deepEqual(loadConfig({ env: { ALLOW_NET: "true" } }).warnings, [
    "ALLOW_NET in the environment is not a setting; use --allow-net",
  ]);
  for (const foreign of ["PORT", "PATH", "PAT", "DATABASE_URL", "HOST", "DMNODE_API", "ALPHABET"]) {
    assert.deepEqual(warned(`${foreign}=1`), [], foreign);
  }
  assert.match(warned("API_TOKEN=abc#def")[0], /line 1: the value of API_TOKEN ends at the #/);
  assert.deepEqual(warned("API_TOKEN='abc#def'\nALPHA=3 # three\nDATA_DIR=x #y"), []);
  assert.match(warned("ALPHA=1\nALPHA=2")[0], /line 2: ALPHA is set again; line 1/);
});

Deno.test(".env: names of an object's members are only names", () => {
  assert.deepEqual(loadConfig({ envFile: "__proto__=1\nconstructor=2\ntoString=3" }).warnings, []);
});

Deno.test("the table and the contract's names and flags agree", () => {
  assert.deepEqual(SETTINGS.map(({ name, flag }) => [name, flag]), [
    ["P2P_PORT", "--p2p-port"],
    ["P2P_HOST", "--p2p-host"],
    ["BOOTSTRAP_NODES", "--bootstrap"],
    ["K_BUCKET_SIZE", "--k"],
    ["MIN_REPLICAS", "--min-replicas"],
    ["ALPHA", "--alpha"],
    ["MAX_PER_SUBNET", "--max-per-subnet"],
    ["HEALTH_CHECK_INTERVAL", "--health-check-interval"],
    ["API_HOST", "--api-host"],
    ["API_PORT", "--api-port"],
    ["API_TOKEN", null],
    ["API_TOKEN_FILE", null],
    ["API_OPEN_READS", null],
    ["API_ALLOWED_HOSTS", null],
    ["API_TRUSTED_PROXIES", null],
    ["API_RATE_LIMIT", null],
    ["API_SEND_RATE_LIMIT", null],
    ["API_MAX_CONNECTIONS", null],
    ["DATA_DIR", "--data-dir"],
    ["LOG_LEVEL", "--log-level"],
    ["LOG_FORMAT", "--log-format"],
    ["MAX_VALUE_SIZE", null],
    ["STORAGE_LIMIT", null],
    ["NAT", "--nat"],
    ["RELAY", "--relay"],
  ]);
  assert.deepEqual(ENV_NAMES, [...SETTINGS.map(({ name }) => name), "DMNODE_API"]);
});

Deno.test(".env.example has every variable with its default and a comment, and loads", async () => {
  const envFile = await Deno.readTextFile(new URL("../.env.example", import.meta.url));
  for (const setting of SETTINGS) {
    assert.match(envFile, new RegExp(`^# .+\\n${setting.name}=${setting.default}$`, "m"));
  }
  assert.equal(envFile.match(/^\w+=/gm)?.length, SETTINGS.length, "and no other");
  assert.deepEqual(loadConfig({ envFile }), loadConfig());
});
