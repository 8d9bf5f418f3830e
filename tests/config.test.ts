// The settings: sources and their precedence, validation, and the files that document them.

import assert from "node:assert/strict";
import { describeScope, parseAllowNet } from "../src/config/addresses.ts";
import { envVariables } from "../src/config/env_file.ts";
import { NetworkKey } from "../src/config/network_key.ts";
import { ConfigError } from "../src/config/text.ts";
import { ENV_NAMES, loadConfig, reloaded, SETTINGS } from "../src/config.ts";
import { cidrIncludes, isLoopbackHost } from "../src/krpc/address_range.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";

/** The one-line message of the ConfigError that `load` throws. */
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

Deno.test("without any source, every setting has its documented default", () => {
  assert.deepEqual(loadConfig(), {
    allowNet: { mode: "loopback" },
    networkKeys: [],
    p2pPort: 8000,
    p2pHost: "0.0.0.0",
    bootstrapNodes: [],
    bucketSize: 20,
    minReplicas: 1,
    maxPerSubnet: 2,
    testNetworks: [],
    denyList: null,
    denied: [],
    alpha: 3,
    healthCheckIntervalMs: 60_000,
    p2pInterface: null,
    p2pExternal: [],
    p2pUpLimit: null,
    p2pDownLimit: null,
    p2pMonthlyBudget: null,
    apiHost: ["127.0.0.1"],
    apiSocket: null,
    apiSocketGroup: null,
    apiSocketMode: 0o600,
    apiPort: 8080,
    apiToken: null,
    apiTokens: null,
    apiTokensFile: null,
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
    readOnly: false,
    beacons: "auto",
    udpBatches: "auto",
    relay: 2048,
    warnings: [],
  });
});

Deno.test("flags take precedence over the environment, that over .env, and that over defaults", () => {
  const envFile = "P2P_PORT=1\nAPI_PORT=1\nALPHA=1\n";
  const env = { P2P_PORT: "2", API_PORT: "2" };
  const config = loadConfig({ flags: { p2pPort: "3" }, env, envFile });
  assert.deepEqual(
    [config.p2pPort, config.apiPort, config.alpha, config.bucketSize],
    [3, 2, 1, 20],
  );
});

Deno.test("every flag sets its setting under the name that commander gives it", () => {
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
      beacons: "off",
      udpBatches: "off",
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
      apiHost: ["localhost"],
      apiPort: 0,
      dataDir: "/srv/x",
      logLevel: "debug",
      logFormat: "json",
      nat: "off",
      beacons: "off",
      udpBatches: "off",
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

Deno.test("an empty variable counts as not set, unless the default is empty too", () => {
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

Deno.test("the configuration is deeply frozen", () => {
  const config = loadConfig({ env: { BOOTSTRAP_NODES: "a:1" }, flags: { allowNet: "10.0.0.0/8" } });
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.warnings));
  assert.ok(Object.isFrozen(config.bootstrapNodes) && Object.isFrozen(config.bootstrapNodes[0]));
  assert.ok(config.allowNet.mode === "list" && Object.isFrozen(config.allowNet.entries[0]));
});

const BAD: Record<string, string[]> = {
  ALLOW_NET: ["10.0.0.0/33", "*", "a:1", "a b", ",", "10.0.0.0/8,::/129"],
  P2P_PORT: ["65536", "-1", "8000.5", "8e3", "0x1F40", "eight", "+8", "１", "99999999999999999999"],
  P2P_HOST: ["example.org", "256.0.0.1", "10.0.0", "0.0.0.0/0", "::g", "fe80::1%eth0", "01.2.3.4"],
  P2P_INTERFACE: ["two words", "a/b", "sixteen-letters!"],
  P2P_EXTERNAL: [
    "203.0.113.5",
    "host:8000",
    "203.0.113.5:0",
    "203.0.113.5:1,[2001:db8::1]:2",
    "1.2.3.4:1,1.2.3.5:1",
    "0.0.0.0:8000",
    "127.0.0.1:8000",
    "[::]:8000",
    "[::1]:8000",
  ],
  P2P_UP_LIMIT: ["-1", "999", "1 kB/s", "fast"],
  P2P_DOWN_LIMIT: ["-1", "1", "10 Mbit"],
  P2P_MONTHLY_BUDGET: ["-1", "0.5 GB", "100 GB/month"],
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
  NETWORK_KEY: ["dmkey", "a".repeat(61), `dmkey${"a".repeat(55)}`, `dmkey${"0".repeat(56)}`],
  NETWORK_KEY_FILE: ["a\0b", "~/key"],
  K_BUCKET_SIZE: ["0", "129", "x"],
  MIN_REPLICAS: ["0", "21", "129", "all"],
  ALPHA: ["0", "17", "3.0"],
  MAX_PER_SUBNET: ["-1", "129", "two"],
  TEST_NETWORKS: ["lab.example", "10.0.0.0/33", "192.0.2.0/24;198.18.0.0/15", "::/129"],
  DENY_LIST: ["a\0b", "~/denied"],
  HEALTH_CHECK_INTERVAL: ["0", "86401", "25h", "60 sec", "1.5"],
  API_HOST: ["-x", "a_b!", "127.0.0.1:8080", "http://localhost", "256.1.1.1", "x".repeat(64)],
  API_PORT: ["65536", "http"],
  API_SOCKET: ["a\0b", "~/api.sock"],
  API_SOCKET_MODE: ["0400", "0888", "600x", "07777", "rw"],
  API_SOCKET_GROUP: ["two words", "a:b", "-x"],
  API_TOKEN: ["two words", "naïve", "a\tb", "x".repeat(1025)],
  API_TOKEN_FILE: ["a\0b", "~/token"],
  API_TOKENS_FILE: ["a\0b", "~/tokens"],
  API_OPEN_READS: ["maybe", "2", "constructor"],
  API_ALLOWED_HOSTS: ["*", "a:1", "http://a", "a b", "a,-"],
  API_TRUSTED_PROXIES: ["proxy.example", "10.0.0.0/33", "*", "127.0.0.1:80", "::/129"],
  API_RATE_LIMIT: ["-1", "1000001", "many", "0.5"],
  API_SEND_RATE_LIMIT: ["-1", "1000001", "10/s"],
  API_MAX_CONNECTIONS: ["0", "20001", "x"],
  DATA_DIR: ["a\0b", "a\nb", "~", "~/data", "$HOME/data", "${HOME}/data"],
  LOG_LEVEL: ["verbose", "30", "1"],
  LOG_FORMAT: ["xml"],
  MAX_VALUE_SIZE: ["0", "16M", "268435457", "-5"],
  STORAGE_LIMIT: ["1G", "1e9", "1gb", "9999999TiB", "1 s", "-1", "9007199254740992"],
  NAT: ["upnp", "2"],
  READ_ONLY: ["maybe"],
  RELAY: ["on", "-1", "125000001", "1h"],
  BEACONS: ["sometimes", "2"],
  UDP_BATCHES: ["32", "always"],
};

Deno.test("the error for a bad value names the variable, the flag, the value and what is allowed", () => {
  assert.deepEqual(Object.keys(BAD), SETTINGS.map((s) => s.name), "every variable is tested");
  for (const { name, flag } of SETTINGS) {
    for (const value of BAD[name]) {
      const message = refusal(() => fromEnv(name, value));
      assert.ok(message.startsWith(name), message);
      assert.ok(flag === null || message.includes(`(${flag})`), message);
      assert.match(message, /expected |requires/);
      assert.match(message, /in the environment/);
      if (name === "API_TOKEN" || name === "NETWORK_KEY") assert.ok(!message.includes(value));
      else assert.ok(message.includes(JSON.stringify(value)), message);
    }
  }
});

Deno.test("settings accept the spellings and units that people use", () => {
  const spellings: [string, string, keyof ReturnType<typeof loadConfig>, unknown][] = [
    ["LOG_LEVEL", "warn", "logLevel", "warning"],
    ["LOG_LEVEL", "WARNING", "logLevel", "warning"],
    ["LOG_LEVEL", "notice", "logLevel", "info"],
    ["LOG_FORMAT", "text", "logFormat", "pretty"],
    ["NAT", "true", "nat", "auto"],
    ["NAT", "no", "nat", "off"],
    ["API_OPEN_READS", "1", "apiOpenReads", true],
    ["API_OPEN_READS", "off", "apiOpenReads", false],
    ["STORAGE_LIMIT", "1GB", "storageLimit", 1_000_000_000],
    ["STORAGE_LIMIT", "2 GiB", "storageLimit", 2 * 1024 ** 3],
    ["MAX_VALUE_SIZE", "16MiB", "maxValueSize", 16 * 1024 ** 2],
    ["RELAY", "2kB", "relay", 2_000],
    ["HEALTH_CHECK_INTERVAL", "60s", "healthCheckIntervalMs", 60_000],
    ["HEALTH_CHECK_INTERVAL", "5m", "healthCheckIntervalMs", 300_000],
    ["DATA_DIR", "a~/b$", "dataDir", "a~/b$"],
  ];
  for (const [name, text, member, expected] of spellings) {
    assert.deepEqual(fromEnv(name, text)[member], expected, `${name}=${text}`);
  }
});

Deno.test("the message about a size or a time names the units", () => {
  assert.match(refusal(() => fromEnv("STORAGE_LIMIT", "1 GO")), /unit: kB, MB, GB, TB, KiB, MiB/);
  assert.match(refusal(() => fromEnv("HEALTH_CHECK_INTERVAL", "1 min")), /unit: s, m, h, d/);
});

Deno.test("settings of a Unix socket that does not exist draw a warning", () => {
  assert.match(fromEnv("API_SOCKET_GROUP", "adm").warnings.join(), /without API_SOCKET/);
  assert.match(fromEnv("API_SOCKET_MODE", "0660").warnings.join(), /without API_SOCKET/);
  const env = { API_SOCKET: "a.sock", API_SOCKET_GROUP: "adm" };
  assert.deepEqual(loadConfig({ env }).warnings, []);
});

Deno.test("settings that are read again apply now or at the next start, and never open the API", () => {
  const token = "0123456789abcdef";
  const before = loadConfig({ env: { API_HOST: "0.0.0.0", API_TOKEN: token } });
  const read = loadConfig({ env: { API_HOST: "0.0.0.0", API_TOKEN: `${token}x`, ALPHA: "5" } });
  const { config, now, later } = reloaded(before, read);
  assert.deepEqual([now, later], [["API_TOKEN"], ["ALPHA"]]);
  assert.deepEqual(config, { ...before, apiToken: `${token}x` });
  assert.match(refusal(() => reloaded(before, loadConfig())), /^API_TOKEN: expected a token/);
});

Deno.test("a variable that Kubernetes sets for a Service is ignored with a warning", () => {
  for (
    const [name, text] of [["API_PORT", "tcp://10.96.12.7:80"], ["P2P_PORT", "udp://10.0.0.1:9"]]
  ) {
    const config = loadConfig({ env: { [name]: text }, envFile: "API_PORT=8081\nP2P_PORT=8001" });
    assert.deepEqual([config.apiPort, config.p2pPort], [8081, 8001]);
    assert.match(config.warnings.join(), new RegExp(`^${name}: .* Kubernetes .* a Service named`));
  }
  assert.match(refusal(() => loadConfig({ envFile: "API_PORT=tcp://10.96.12.7:80" })), /^API_PORT/);
});

Deno.test("the error for a bad value shows no character that controls a terminal", () => {
  const message = refusal(() =>
    loadConfig({ env: { ALPHA: "\x1b[2J\x9b2J\u2028\u202e\u{e0001}" } })
  );
  assert.match(message, /"\\u001b\[2J\\u\{9b\}2J\\u\{2028\}\\u\{202e\}\\u\{e0001\}"/);
});

Deno.test("the error for a bad value names its source, and is short", () => {
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

Deno.test("limits are inclusive, and surrounding blanks are ignored", () => {
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

Deno.test("bootstrap nodes are names, IPv4 or [IPv6] addresses, without duplicates", () => {
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

Deno.test("an API that is not bound to loopback requires a token", () => {
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

Deno.test("API_TOKENS_FILE provides tokens with scopes, by default from DATA_DIR", () => {
  const hash = "0".repeat(64), read: string[] = [];
  const load = (env: Record<string, string>, text: string | undefined) =>
    loadConfig({
      env,
      readApiTokens: (path) => {
        read.push(path);
        return text;
      },
    });
  const text =
    `# comment\na read,fetch 5 2030-01-31T00:00:00.000Z sha256:${hash}\nb admin 0 never sha256:${hash}\n`;
  assert.deepEqual(load({}, text).apiTokens, [
    { name: "a", scopes: ["read", "fetch"], rate: 5, expiresAt: Date.UTC(2030, 0, 31), hash },
    { name: "b", scopes: ["admin"], rate: 0, expiresAt: null, hash },
  ]);
  assert.equal(load({}, undefined).apiTokens, null);
  assert.deepEqual(load({ API_HOST: "0.0.0.0", API_TOKENS_FILE: "t" }, text).warnings, []);
  assert.deepEqual(read, ["./data/api_tokens", "./data/api_tokens", "t"]);
  assert.match(refusal(() => load({ API_TOKENS_FILE: "t" }, undefined)), /the file does not exist/);
  const unreadable = () =>
    loadConfig({
      env: { DATA_DIR: "/d" },
      readApiTokens: () => {
        throw new Error("it is closed");
      },
    });
  assert.match(refusal(unreadable), /"\/d\/api_tokens".*it is closed; the directory is DATA_DIR/);
  const line = (bad: string) => refusal(() => load({}, bad));
  assert.match(
    line("a write 0 never sha256:" + hash),
    /line 1: "write": expected scopes: read, store/,
  );
  assert.match(line("\na read x never sha256:" + hash), /line 2: "x" is no number/);
  assert.match(line("a read 0 soon sha256:" + hash), /"soon" is neither never nor a time/);
  assert.match(line("a read 0 never sha256:0"), /expected sha256: and 64 hex digits/);
  assert.match(line(text + `a read 0 never sha256:${hash}`), /the name a is used twice/);
});

Deno.test("a running node takes other tokens, but never opens an exposed API", () => {
  const before = loadConfig({
    env: { API_HOST: "0.0.0.0" },
    readApiTokens: () => "",
  });
  const hash = "0".repeat(64);
  const read = loadConfig({
    env: { API_HOST: "0.0.0.0" },
    readApiTokens: () => `a read 0 never sha256:${hash}`,
  });
  const { config, now } = reloaded(before, read);
  assert.deepEqual([config.apiTokens, now], [read.apiTokens, ["the tokens"]]);
  assert.throws(() => reloaded(before, loadConfig()), /expected a token/);
});

Deno.test("API_TOKEN_FILE provides the token", () => {
  const files: Record<string, string> = {
    "/run/token": "from-the-file-0123\nanother line\n",
    "/run/crlf": "  token-with-blanks \r\n",
    "/run/empty": "\nsecond",
    "/run/odd": "two words of it",
  };
  const readSecret = (path: string) => {
    if (files[path] === undefined) throw new Error(`No such file: ${path}\n    at open`);
    return { text: files[path], mode: 0o100400 };
  };
  const load = (env: Record<string, string>) => loadConfig({ env, readSecret });
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
    /^API_TOKEN_FILE: .* expected no API_TOKEN as well/,
  );
  const odd = refusal(() => load({ API_TOKEN_FILE: "/run/odd" }));
  assert.match(odd, /^API_TOKEN: the value of 15 characters in \/run\/odd: expected at most/);
});

Deno.test("a token file that every user may change is refused, and one that others may read causes a warning", () => {
  const load = (mode: number | null) =>
    loadConfig({
      env: { API_TOKEN_FILE: "/run/token" },
      readSecret: () => ({ text: "a-token", mode }),
    });
  for (const mode of [0o100602, 0o100606, 0o100666, 0o100777]) {
    assert.match(refusal(() => load(mode)), /every user .* can change the file: chmod 600 \/run/);
  }
  for (const mode of [0o100444, 0o100644, 0o100660, 0o100664]) {
    const octal = (mode & 0o777).toString(8);
    assert.match(load(mode).warnings.join(), new RegExp(`mode 0${octal}.* chmod 600 /run/token`));
  }
  for (const mode of [0o100400, 0o100440, 0o100600, 0o100640, null]) {
    assert.deepEqual(load(mode).warnings, [], `mode ${mode?.toString(8)}`);
  }
});

Deno.test("TEST_NETWORKS is a list of ranges, from the environment or a flag", () => {
  const text = "203.0.113.0/24, 2001:db8::/32";
  for (
    const config of [
      loadConfig({ env: { TEST_NETWORKS: text } }),
      loadConfig({ flags: { testNetworks: text } }),
    ]
  ) {
    assert.deepEqual(
      config.testNetworks.map(({ address, prefix }) => [address.host, prefix]),
      [["203.0.113.0", 24], ["2001:db8::", 32]],
    );
  }
});

Deno.test("API_ALLOWED_HOSTS and API_TRUSTED_PROXIES are lists", () => {
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

Deno.test("--allow-net is absent, a bare flag, or a list of addresses, CIDRs and names", () => {
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

Deno.test("--allow-net names a bad entry, and refuses an empty list", () => {
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
    assert.match(message, /^ALLOW_NET \(--allow-net\): .* on the command line: /);
    assert.ok(message.includes(JSON.stringify(entry)), message);
  }
  for (const empty of ["", " ", ","]) {
    assert.match(refusal(() => parseAllowNet(empty)), /allows no address/);
    assert.match(
      refusal(() => loadConfig({ flags: { allowNet: empty } })),
      /allows no address/,
      "an unset shell variable in the flag",
    );
  }
});

Deno.test("ALLOW_NET is a setting like others, and the flag takes precedence", () => {
  const mode = (text: string) => loadConfig({ env: { ALLOW_NET: text } }).allowNet.mode;
  assert.deepEqual(["any", "TRUE", "on"].map(mode), ["any", "any", "any"]);
  assert.deepEqual(["", "loopback", "false"].map(mode), ["loopback", "loopback", "loopback"]);
  assert.equal(mode("10.0.0.0/8, boot.example"), "list");
  assert.equal(loadConfig({ envFile: "ALLOW_NET=any" }).allowNet.mode, "any");
  const both = loadConfig({ flags: { allowNet: "10.0.0.0/8" }, env: { ALLOW_NET: "any" } });
  assert.equal(both.allowNet.mode, "list");
});

Deno.test("NETWORK_KEY is a whole key, a typo in it is detected, and no message shows it", () => {
  const key = NetworkKey.random(), text = key.secretText();
  assert.match(text, /^dmkey[a-z2-7]{56}$/);
  const read = loadConfig({ env: { NETWORK_KEY: ` ${text.toUpperCase()} ` } });
  assert.deepEqual(read.networkKeys.map((key) => key.secretText()), [text]);
  assert.ok(!JSON.stringify(read).includes(text.slice(5, 20)));
  assert.ok(!Deno.inspect(read).includes(text.slice(5, 20)));
  for (let i = 0; i < text.length; i++) {
    const typo = text.slice(0, i) + (text[i] === "a" ? "b" : "a") + text.slice(i + 1);
    const message = refusal(() => loadConfig({ env: { NETWORK_KEY: typo } }));
    assert.match(message, /^NETWORK_KEY: the value of 61 characters in the environment: /);
    assert.ok(!message.includes(typo.slice(5, 20)));
  }
});

Deno.test("NETWORK_KEY_FILE provides one or two keys, and ignores comments", () => {
  const [first, second, third] = [1, 2, 3].map(() => NetworkKey.random().secretText());
  const load = (text: string, env: Record<string, string> = {}) =>
    loadConfig({
      env: { NETWORK_KEY_FILE: "k", ...env },
      readSecret: () => ({ text, mode: 0o600 }),
    }).networkKeys.map((key) => key.secretText());
  assert.deepEqual(load(`${first}\n`), [first]);
  assert.deepEqual(load(`# the old one\r\n${first}\r\n\r\n  ${second}\r\n`), [first, second]);
  assert.match(refusal(() => load("# none\n")), /^NETWORK_KEY_FILE .*expected a network key/);
  assert.match(refusal(() => load([first, second, third].join("\n"))), /at most two network keys/);
  assert.match(refusal(() => load(first, { NETWORK_KEY: second })), /set only one/);
});

Deno.test("a running node changes its network keys, but can't begin or stop using a key", () => {
  const load = (...keys: NetworkKey[]) =>
    loadConfig({ env: { NETWORK_KEY: keys.map((key) => key.secretText()).join() } });
  const [old, fresh] = [NetworkKey.random(), NetworkKey.random()];
  assert.deepEqual(reloaded(load(old), load(old)).now, []);
  assert.deepEqual(reloaded(load(old), load(old, fresh)).now, ["NETWORK_KEY"]);
  assert.deepEqual(reloaded(load(old, fresh), load(fresh, old)).now, ["NETWORK_KEY"]);
  assert.match(refusal(() => reloaded(load(), load(old))), /^NETWORK_KEY: a running node can't/);
  assert.match(refusal(() => reloaded(load(old), load())), /^NETWORK_KEY: a running node can't/);
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

Deno.test(".env is read in all forms of the syntax", () => {
  const envFile = "\uFEFF# comment\r\n\r\nexport ALPHA=5 # more\r\nLOG_LEVEL='debug'\r\n" +
    'DATA_DIR="/srv/a b"\r\nK_BUCKET_SIZE: 8\r\n P2P_PORT = 9000\r\nOTHER="two\r\nlines"\r\n';
  const config = loadConfig({ envFile });
  assert.deepEqual(
    [config.alpha, config.logLevel, config.dataDir, config.bucketSize, config.p2pPort],
    [5, "debug", "/srv/a b", 8, 9000],
  );
  assert.deepEqual(config.warnings, []);
});

Deno.test("quotes in .env keep spaces, # and line breaks, and double quotes have escapes", () => {
  const text = 'A=\' x # y \' # z\nB="one\\ntwo"\nC=\'one\\ntwo\'\nD=`it\'s "so"`\nE="a\nF=b"\n' +
    "G='it\\'s'\nH='open\nnot an assignment\nI=a#b\nJ=\n";
  assert.deepEqual(envVariables(text), {
    A: " x # y ",
    B: "one\ntwo",
    C: "one\\ntwo",
    D: 'it\'s "so"',
    E: "a\nF=b",
    G: "it\\'s",
    H: "'open",
    I: "a",
    J: "",
  });
});

Deno.test("a .env of 50,000 lines is read, with any quotes", () => {
  const lines = 50_000;
  // With a parser that looks at the rest of the file in every line, this takes hours.
  for (const [line, value] of [["A=b", "b"], ['A="b', '"b'], ['A="\\"', "\\"]]) {
    assert.equal(envVariables(`${line}\n`.repeat(lines)).A, value);
  }
});

Deno.test("no error shows a network key that was given for a file, or stands alone in .env", () => {
  const key = NetworkKey.random().secretText(), typed = key.toUpperCase().replace(/.$/, "0");
  const unreadable = (path: string): never => {
    throw new Error(`No such file or directory (os error 2): open '${path}'`);
  };
  for (const text of [key, typed, `  ${"x".repeat(60)}${key}`]) {
    const messages = [
      refusal(() => loadConfig({ flags: { networkKeyFile: text }, readSecret: unreadable })),
      refusal(() => loadConfig({ env: { NETWORK_KEY_FILE: text }, readSecret: unreadable })),
      refusal(() => loadConfig({ env: { P2P_PORT: text } })),
      refusal(() => loadConfig({ envFile: `P2P_PORT=1\n${text}\n` })),
    ];
    for (const message of messages) {
      assert.ok(message.includes("dmkey…"), message);
      assert.ok(!message.toLowerCase().includes(key.slice(5, 15)), message);
      assert.ok(!message.toLowerCase().includes(key.slice(-11, -1)), message);
    }
  }
});

Deno.test("a malformed line of .env is an error with its number, which shows no secret", () => {
  for (const line of ["P2P_PORT 9000", "just words", "=5", "!!", "\0\x01", "API_TOKEN hunter2"]) {
    const message = refusal(() => loadConfig({ envFile: `# one\nALPHA=3\n${line}\n` }));
    assert.match(message, /^\.env, line 3: /);
    assert.doesNotMatch(message, /hunter2/);
  }
});

Deno.test("a misspelled or repeated name in .env is a warning", () => {
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
  for (const foreign of ["PORT", "PATH", "PAT", "DATABASE_URL", "HOST", "DMNODE_API", "ALPHABET"]) {
    assert.deepEqual(warned(`${foreign}=1`), [], foreign);
  }
  assert.match(warned("API_TOKEN=abc#def")[0], /line 1: the value of API_TOKEN ends at the #/);
  assert.deepEqual(warned("API_TOKEN='abc#def'\nALPHA=3 # three\nDATA_DIR=x #y"), []);
  assert.match(warned("ALPHA=1\nALPHA=2")[0], /line 2: ALPHA is set again; line 1/);
});

Deno.test("names in .env such as __proto__ have no effect", () => {
  assert.deepEqual(loadConfig({ envFile: "__proto__=1\nconstructor=2\ntoString=3" }).warnings, []);
});

Deno.test("the table has the documented variables and flags, in order", () => {
  assert.deepEqual(SETTINGS.map(({ name, flag }) => [name, flag]), [
    ["ALLOW_NET", "--allow-net"],
    ["P2P_PORT", "--p2p-port"],
    ["P2P_HOST", "--p2p-host"],
    ["P2P_INTERFACE", "--p2p-interface"],
    ["P2P_EXTERNAL", "--p2p-external"],
    ["P2P_UP_LIMIT", "--p2p-up-limit"],
    ["P2P_DOWN_LIMIT", "--p2p-down-limit"],
    ["P2P_MONTHLY_BUDGET", "--p2p-monthly-budget"],
    ["BOOTSTRAP_NODES", "--bootstrap"],
    ["NETWORK_KEY", null],
    ["NETWORK_KEY_FILE", "--network-key-file"],
    ["K_BUCKET_SIZE", "--k"],
    ["MIN_REPLICAS", "--min-replicas"],
    ["ALPHA", "--alpha"],
    ["MAX_PER_SUBNET", "--max-per-subnet"],
    ["TEST_NETWORKS", "--test-networks"],
    ["DENY_LIST", "--deny-list"],
    ["HEALTH_CHECK_INTERVAL", "--health-check-interval"],
    ["API_HOST", "--api-host"],
    ["API_PORT", "--api-port"],
    ["API_SOCKET", "--api-socket"],
    ["API_SOCKET_MODE", null],
    ["API_SOCKET_GROUP", null],
    ["API_TOKEN", null],
    ["API_TOKEN_FILE", null],
    ["API_TOKENS_FILE", null],
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
    ["READ_ONLY", "--read-only"],
    ["RELAY", "--relay"],
    ["BEACONS", "--beacons"],
    ["UDP_BATCHES", "--udp-batches"],
  ]);
  assert.deepEqual(ENV_NAMES, [...SETTINGS.map(({ name }) => name), "DMNODE_API"]);
});

Deno.test(".env.example has every variable with its default and a comment, and loads", async () => {
  // packaging/cli_reference.ts generates the file; tests/program/reference.test.ts checks that it is current.
  const envFile = await Deno.readTextFile(new URL("../.env.example", import.meta.url));
  for (const setting of SETTINGS) {
    assert.match(envFile, new RegExp(`^# .+\\n${setting.name}=${setting.default}$`, "m"));
  }
  assert.equal(envFile.match(/^\w+=/gm)?.length, SETTINGS.length, "and no other");
  assert.deepEqual(loadConfig({ envFile }), loadConfig());
});

Deno.test("the documentation names only settings that exist", async () => {
  const names = SETTINGS.map(({ name }) => name);
  const prefixes = new Set(names.filter((name) => name.includes("_")).map((n) => n.split("_")[0]));
  const spelled = new RegExp(`\\b(?:${[...prefixes].join("|")})_[A-Z_]+\\b`, "g");
  const root = new URL("../", import.meta.url);
  const pages = [
    "README.md",
    ...["operations", "security", "nat"].map((page) => `docs/${page}.md`),
  ];
  for (const page of pages) {
    const text = await Deno.readTextFile(new URL(page, root));
    for (const [name] of text.matchAll(spelled)) {
      assert.ok(names.includes(name), `${page}: ${name}`);
    }
  }
});

Deno.test("a link-local bootstrap node keeps its zone, which is the name of an interface", () => {
  const { bootstrapNodes } = fromEnv("BOOTSTRAP_NODES", "[FE80::1%eth0]:8000");
  assert.deepEqual(bootstrapNodes, [{ host: "fe80::1%eth0", port: 8000 }]);
  for (const text of ["[2a00::1%eth0]:8000", "10.0.0.1%eth0:8000", "[fe80::1%]:8000"]) {
    assert.match(refusal(() => fromEnv("BOOTSTRAP_NODES", text)), /no valid host/);
  }
});

Deno.test("DENY_LIST names a file of addresses, CIDRs and ids", () => {
  const load = (text: string) =>
    loadConfig({ env: { DENY_LIST: "denied" }, readDenyList: (path) => `${path}` && text });
  const id = "ab".repeat(20);
  const text = `# scanners\n203.0.113.7\n\n2001:db8::/32 # all of it\r\n${id}\n203.0.113.7\n`;
  assert.deepEqual(load(text).denied, ["203.0.113.7", "2001:db8::/32", id]);
  assert.match(
    refusal(() => load("10.0.0.0/8\n10.0.0.0/33\n")),
    /^DENY_LIST \(--deny-list\): "denied" in the environment: line 2: "10\.0\.0\.0\/33"/,
  );
  const missing = () => {
    throw new Error("no such file");
  };
  const unread = () => loadConfig({ env: { DENY_LIST: "denied" }, readDenyList: missing });
  assert.match(refusal(unread), /"denied".*expected a file that can be read: no such file/);
});

Deno.test("a new deny list is in force at once", () => {
  const load = (text: string) =>
    loadConfig({ env: { DENY_LIST: "denied" }, readDenyList: () => text });
  const { config, now, later } = reloaded(load("192.0.2.1"), load("192.0.2.2"));
  assert.deepEqual([config.denied, now, later], [["192.0.2.2"], ["the deny list"], []]);
  assert.deepEqual(reloaded(load("192.0.2.1"), load("192.0.2.1 # why")).now, []);
});
