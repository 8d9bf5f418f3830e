// Port mapping from the search to the release, against correct, faulty and slow routers of each protocol.

import assert from "node:assert/strict";
import { endpointOf } from "../../../src/runtime/port_mapping/router.ts";
import {
  FakeControl,
  FakeIgd,
  NatPmpState,
  passUntil,
  PcpState,
  response,
  Scene,
  until,
} from "./routers.ts";

const MINUTE = 60_000;

/** The requests with this version and opcode. */
const ofKind = (control: FakeControl, version: number, opcode: number) =>
  control.requests.filter((request) => request[0] === version && request[1] === opcode);

const lifetimeOf = (request: Uint8Array, at: number) =>
  new DataView(request.buffer, request.byteOffset).getUint32(at);

/** Runs a test for each element at the same time, as each waits for routers that don't answer. */
async function inParallel<T>(list: readonly T[], run: (each: T) => Promise<void>): Promise<void> {
  await Promise.all(list.map(run));
}

const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** Waits until the keeper sleeps, and advances the clock. */
async function pass(scene: Scene, ms: number, router?: { epochS: number }): Promise<void> {
  await until("idle", () => scene.isIdle, () => scene.clock.waits);
  if (router !== undefined) router.epochS += ms / 1000;
  scene.clock.advance(ms);
}

Deno.test("PCP: maps a port, renews at half of the lease with the same nonce, and releases at the end", async () => {
  const pcp = new PcpState(), control = new FakeControl(pcp.answers);
  pcp.externalPort = 9000;
  {
    await using scene = new Scene({ control });
    const state = await scene.reaches("mapped");
    assert.equal(state.lease?.protocol, "pcp");
    assert.equal(`${state.lease?.internal}`, "127.0.0.1:8000");
    assert.equal(`${state.lease?.external}`, "45.83.113.5:9000");
    assert.equal(state.lease?.gateway, "127.0.0.1");
    assert.deepEqual([state.lease?.seconds, state.made, state.renewals, state.problem], [
      3600,
      1,
      0,
      null,
    ]);
    assert.equal(scene.changes.length, 1);
    for (let minute = 1; minute < 30; minute++) await pass(scene, MINUTE, pcp);
    await until("checked", () => ofKind(control, 2, 0).length >= 29);
    assert.equal(scene.state.renewals, 0);
    await pass(scene, MINUTE, pcp);
    await until("renewed", () => scene.state.renewals === 1);
    const renewal = ofKind(control, 2, 1).at(-1)!;
    assert.equal(
      new DataView(renewal.buffer).getUint16(42),
      9000,
      "it requests the port that it has",
    );
    assert.equal(scene.state.made, 1);
    assert.equal(scene.state.since, state.since);
    assert.equal(scene.changes.length, 1, "a renewal is not reported as a change");
    assert.equal(pcp.mappings.size, 1);
  }
  assert.equal(pcp.mappings.size, 0);
  const last = ofKind(control, 2, 1).at(-1)!;
  assert.equal(lifetimeOf(last, 4), 0);
  assert.equal(new Set(ofKind(control, 2, 1).map((r) => r.subarray(24, 36).join())).size, 1);
});

Deno.test("PCP: each error is reported, and other protocols are tried", async () => {
  await inParallel(range(1, 15), async (result) => {
    const pcp = new PcpState(), control = new FakeControl(pcp.answers);
    pcp.result = result;
    await using scene = new Scene({ control });
    const state = await scene.reaches("none");
    assert.match(state.problem!, /^127\.0\.0\.1 \(pcp\): [a-z]/, `${result}: ${state.problem}`);
    assert.equal(state.lease, null);
  });
});

Deno.test("PCP: invalid replies are ignored, and a valid one is accepted", async () => {
  const pcp = new PcpState();
  const control = new FakeControl((request) => {
    const [right] = pcp.answers(request);
    if (right === undefined || request[1] !== 1) return right === undefined ? [] : [right];
    const wrong = (change: (bytes: Uint8Array) => void, length = right.length) => {
      const bytes = right.slice(0, length);
      change(bytes);
      return bytes;
    };
    return [
      new Uint8Array(0),
      wrong(() => {}, 20),
      wrong(() => {}, 59),
      wrong(() => {}, 24), // success without a mapping
      wrong((b) => b[0] = 1),
      wrong((b) => b[1] = 1),
      wrong((b) => b[1] = 0x82),
      wrong((b) => b[24] ^= 1), // another client's nonce
      wrong((b) => b[36] = 6), // TCP
      wrong((b) => b[41] ^= 1), // another port
      right,
    ];
  });
  await using scene = new Scene({ control });
  assert.equal(`${(await scene.reaches("mapped")).lease?.external}`, "45.83.113.5:8000");
});

Deno.test("PCP: a short lease, or one without an external address, is refused", async () => {
  const cases = [
    ["45.83.113.5", 30, /grants only 30 s/],
    ["45.83.113.5", 0, /grants only 0 s/],
    ["0.0.0.0", 3600, /no external address/],
    ["2a01:db8::1", 3600, /no external address/],
  ] as const;
  await inParallel(cases, async ([external, lifetimeS, problem]) => {
    const pcp = new PcpState(), control = new FakeControl(pcp.answers);
    Object.assign(pcp, { external, lifetimeS });
    await using scene = new Scene({ control });
    assert.match((await scene.reaches("none")).problem!, problem);
  });
});

Deno.test("PCP, NAT-PMP: a restarted router is asked for a new mapping", async () => {
  for (const state of [new PcpState(), new NatPmpState()]) {
    const control = new FakeControl(state.answers);
    await using scene = new Scene({ control });
    await scene.reaches("mapped");
    state.mappings.clear();
    state.epochS = 3;
    await pass(scene, MINUTE);
    await passUntil(scene.clock, "mapped again", () => scene.state.made === 2);
    assert.equal(state.mappings.size, 1);
    assert.equal(scene.state.renewals, 0);
  }
});

Deno.test("NAT-PMP: maps a port if the router does not speak PCP", async () => {
  const natPmp = new NatPmpState(), control = new FakeControl(natPmp.answers);
  {
    await using scene = new Scene({ control });
    const state = await scene.reaches("mapped");
    assert.equal(state.lease?.protocol, "nat-pmp");
    assert.equal(`${state.lease?.external}`, "45.83.113.6:8000");
    assert.equal(lifetimeOf(ofKind(control, 0, 1)[0], 8), 3600);
    assert.equal(natPmp.mappings.get(8000), 8000);
  }
  assert.equal(natPmp.mappings.size, 0);
});

Deno.test("NAT-PMP: another external address and another port are reported", async () => {
  const natPmp = new NatPmpState(), control = new FakeControl(natPmp.answers);
  await using scene = new Scene({ control });
  await scene.reaches("mapped");
  natPmp.external = "45.51.100.77";
  natPmp.externalPort = 8123;
  await pass(scene, MINUTE, natPmp);
  await passUntil(scene.clock, "told", () => scene.changes.length === 2);
  assert.equal(`${scene.state.lease?.external}`, "45.51.100.77:8123");
});

Deno.test("NAT-PMP: each error of the address and of the mapping is reported", async () => {
  for (const key of ["result", "mapResult"] as const) {
    await inParallel(range(1, 6), async (result) => {
      const natPmp = new NatPmpState(), control = new FakeControl(natPmp.answers);
      natPmp[key] = result;
      await using scene = new Scene({ control });
      assert.match((await scene.reaches("none")).problem!, /^127\.0\.0\.1 \(nat-pmp\): [a-z]/);
    });
  }
});

Deno.test("a router that stops answering is given up, and found again later", async () => {
  const pcp = new PcpState(), control = new FakeControl(pcp.answers);
  await using scene = new Scene({ control });
  await scene.reaches("mapped");
  control.answers = () => [];
  await pass(scene, MINUTE);
  await passUntil(scene.clock, "given up", () => scene.state.status === "none");
  assert.equal(scene.state.lease, null);
  control.answers = pcp.answers;
  await passUntil(scene.clock, "back", () => scene.state.status === "mapped");
  assert.deepEqual(scene.changes.map(({ status }) => status), [
    "mapped",
    "searching",
    "none",
    "mapped",
  ]);
});

Deno.test("UPnP: finds a router, maps a port, checks it and releases it", async () => {
  await inParallel([1, 2], async (version) => {
    const ssdp = new FakeIgd();
    ssdp.version = version;
    {
      await using scene = new Scene({ ssdp });
      const state = await scene.reaches("mapped");
      assert.equal(state.lease?.protocol, "upnp");
      assert.equal(`${state.lease?.external}`, "45.83.113.7:8000");
      assert.deepEqual(ssdp.entries.get(8000), ["127.0.0.1", 8000, 3600]);
      assert.equal(ssdp.calls.includes("AddAnyPortMapping"), version === 2);
      await pass(scene, MINUTE);
      await until("checked", () => ssdp.calls.at(-1) === "GetSpecificPortMappingEntry");
      assert.equal(scene.state.made, 1);
    }
    assert.equal(ssdp.entries.size, 0);
    assert.equal(ssdp.calls.at(-1), "DeletePortMapping");
  });
});

Deno.test("UPnP: requests have the form that routers expect", async () => {
  const ssdp = new FakeIgd();
  await using scene = new Scene({ ssdp });
  await scene.reaches("mapped");
  const request = ssdp.requests.find((text) => text.includes("#AddPortMapping"))!;
  const [head, body] = request.split("\r\n\r\n");
  const lines = head.split("\r\n");
  assert.equal(lines[0], "POST /ctl HTTP/1.1");
  assert.ok(lines.includes(`Host: 127.0.0.1:${ssdp.webPort}`));
  assert.ok(lines.includes('Content-Type: text/xml; charset="utf-8"'));
  assert.ok(
    lines.includes('SOAPAction: "urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"'),
  );
  assert.match(
    body,
    /<u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1"><NewRemoteHost><\/NewRemoteHost><NewExternalPort>8000<\/NewExternalPort><NewProtocol>UDP<\/NewProtocol><NewInternalPort>8000<\/NewInternalPort><NewInternalClient>127\.0\.0\.1<\/NewInternalClient><NewEnabled>1<\/NewEnabled><NewPortMappingDescription>dmnode<\/NewPortMappingDescription><NewLeaseDuration>3600<\/NewLeaseDuration>/,
  );
});

Deno.test("UPnP: an external port of another client is left alone", async () => {
  // The router lists the port, or only answers with an error.
  for (const isListed of [true, false]) {
    await inParallel([718, 729], async (code) => {
      const ssdp = new FakeIgd();
      ssdp.entries.set(8000, ["127.0.0.9", 8000, 0]);
      if (!isListed) ssdp.overrule.set("GetSpecificPortMappingEntry", () => ({ error: 401 }));
      ssdp.overrule.set(
        "AddPortMapping",
        (values) => values.get("NewExternalPort") === "8000" ? { error: code } : undefined,
      );
      {
        await using scene = new Scene({ ssdp });
        const { external } = (await scene.reaches("mapped")).lease!;
        assert.notEqual(external!.port, 8000);
        assert.ok(external!.port >= 1024);
        assert.deepEqual(ssdp.entries.get(external!.port), ["127.0.0.1", 8000, 3600]);
      }
      assert.deepEqual([...ssdp.entries.values()], [["127.0.0.9", 8000, 0]]);
    });
  }
});

Deno.test("UPnP: the mapping of another program on this machine is left alone, and our own former one is reused", async () => {
  const ssdp = new FakeIgd();
  ssdp.entries.set(8000, ["127.0.0.1", 51413, 0]);
  {
    await using scene = new Scene({ ssdp });
    assert.notEqual((await scene.reaches("mapped")).lease!.external.port, 8000);
  }
  const again = new FakeIgd();
  again.entries.set(8000, ["127.0.0.1", 8000, 17]);
  await using scene = new Scene({ ssdp: again });
  assert.equal((await scene.reaches("mapped")).lease!.external.port, 8000);
  assert.deepEqual(again.entries.get(8000), ["127.0.0.1", 8000, 3600]);
});

Deno.test("UPnP: the node gives up after a few ports if all are in use", async () => {
  const ssdp = new FakeIgd();
  ssdp.overrule.set("AddPortMapping", () => ({ error: 718 }));
  await using scene = new Scene({ ssdp });
  assert.match((await scene.reaches("none")).problem!, /AddPortMapping: error 718 Because of 718/);
  assert.equal(ssdp.calls.filter((call) => call === "AddPortMapping").length, 4);
});

Deno.test("UPnP: a permanent lease is accepted if the router grants no other, and deleted at the end", async () => {
  await inParallel([725, 402, 501], async (code) => {
    const ssdp = new FakeIgd();
    ssdp.overrule.set(
      "AddPortMapping",
      (values) => values.get("NewLeaseDuration") !== "0" ? { error: code } : undefined,
    );
    {
      await using scene = new Scene({ ssdp });
      assert.equal((await scene.reaches("mapped")).lease?.seconds, 0);
      assert.deepEqual(ssdp.entries.get(8000), ["127.0.0.1", 8000, 0]);
      for (let i = 0; i < 3; i++) await pass(scene, 30 * MINUTE);
      assert.equal(scene.state.renewals, 0);
    }
    assert.equal(ssdp.entries.size, 0);
  });
});

Deno.test("UPnP: errors are reported in one clean line", async () => {
  const codes = [401, 402, 403, 404, 501, 606, 715, 716, 724, 726, 727, 728, 732, 733, 9999];
  await inParallel(codes, async (code) => {
    const ssdp = new FakeIgd();
    ssdp.overrule.set("AddPortMapping", () => ({ error: code }));
    await using scene = new Scene({ ssdp });
    const { problem } = await scene.reaches("none");
    assert.equal(problem, `127.0.0.1 (upnp): AddPortMapping: error ${code} Because of ${code}`);
  });
});

Deno.test("UPnP: there is no mapping without a valid external address", async () => {
  const addresses = ["", "0.0.0.0", "255.255.255.255", "router", "::1", "239.1.2.3"];
  await inParallel(addresses, async (external) => {
    const ssdp = new FakeIgd();
    ssdp.external = external;
    await using scene = new Scene({ ssdp });
    assert.match((await scene.reaches("none")).problem!, /no external address/, external);
    assert.equal(ssdp.entries.size, 0);
  });
});

Deno.test("UPnP: a mapping that is gone, or belongs to another client now, is made again", async () => {
  const ssdp = new FakeIgd();
  await using scene = new Scene({ ssdp });
  await scene.reaches("mapped");
  ssdp.entries.clear();
  await pass(scene, MINUTE);
  await passUntil(scene.clock, "made again", () => scene.state.made === 2);
  assert.equal(scene.state.lease!.external.port, 8000);
  ssdp.entries.set(8000, ["127.0.0.9", 8000, 0]);
  await pass(scene, MINUTE);
  await passUntil(scene.clock, "made again", () => scene.state.made === 3);
  assert.notEqual(scene.state.lease!.external.port, 8000);
  ssdp.external = "45.51.100.9";
  await pass(scene, MINUTE);
  await passUntil(scene.clock, "made again", () => scene.state.made === 4);
  assert.equal(scene.state.lease!.external.host, "45.51.100.9");
});

Deno.test("UPnP: a router that does not list its mappings is not asked for them again", async () => {
  const ssdp = new FakeIgd();
  ssdp.overrule.set("GetSpecificPortMappingEntry", () => ({ error: 714 }));
  await using scene = new Scene({ ssdp });
  await scene.reaches("mapped");
  for (let i = 0; i < 5; i++) {
    await pass(scene, MINUTE);
    await until("checked", () => ssdp.calls.at(-1) === "GetExternalIPAddress");
  }
  assert.equal(scene.state.made, 1);
});

Deno.test("UPnP: hostile descriptions have no effect", async () => {
  const elsewhere = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let visits = 0;
  const visiting = (async () => {
    for await (const conn of elsewhere) {
      visits++;
      conn.close();
    }
  })();
  const other = `http://127.0.0.2:${(elsewhere.addr as Deno.NetAddr).port}`;
  const changes: ((igd: FakeIgd) => void)[] = [
    (igd) => igd.location = `${other}/desc.xml`,
    (igd) => igd.controlUrl = `${other}/ctl`,
    (igd) => igd.urlBase = other,
    (igd) => igd.description = response(302, "", `Location: ${other}/desc.xml\r\n`),
    (igd) => igd.description = "SSH-2.0-OpenSSH_9.2\r\n",
    (igd) => igd.description = response(200, "<a>".repeat(80_000)),
    (igd) => igd.description = response(200, "x".repeat(300_000)),
    (igd) => igd.description = response(200, "\u0000<service>"),
    (igd) => igd.description = "",
  ];
  await inParallel(changes, async (change) => {
    const ssdp = new FakeIgd();
    change(ssdp);
    await using scene = new Scene({ ssdp });
    const { problem } = await scene.reaches("none");
    assert.equal(problem, "no router answers to PCP, NAT-PMP or UPnP");
    assert.deepEqual(ssdp.calls, []);
  });
  assert.equal(visits, 0);
  elsewhere.close();
  await visiting;
});

Deno.test("UPnP: endless and invalid answers are cut off", async () => {
  const raws: (string | (() => AsyncGenerator<string>))[] = [
    "",
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    response(200, "y".repeat(400_000)),
    response(500, "no XML"),
    async function* () {
      yield "HTTP/1.1 200 OK\r\n\r\n";
      for (;;) yield `<a>${"z".repeat(50_000)}</a>`;
    },
  ];
  await inParallel(raws, async (raw) => {
    const ssdp = new FakeIgd();
    ssdp.overrule.set("AddPortMapping", () => ({ raw }));
    await using scene = new Scene({ ssdp });
    assert.match((await scene.reaches("none")).problem!, /AddPortMapping/);
  });
  // This router accepts the request and never answers.
  const ssdp = new FakeIgd();
  let hangs = true;
  ssdp.overrule.set("GetExternalIPAddress", () => ({
    raw: async function* () {
      while (hangs) await new Promise((resolve) => setTimeout(resolve, 5));
      yield "";
    },
  }));
  await using scene = new Scene({ ssdp });
  assert.match((await scene.reaches("none")).problem!, /no answer to GetExternalIPAddress/);
  hangs = false;
});

Deno.test("a router with a public external address is preferred to one with a private address", async () => {
  const pcp = new PcpState(), control = new FakeControl(pcp.answers), ssdp = new FakeIgd();
  pcp.external = "100.64.3.4";
  {
    await using scene = new Scene({ control, ssdp });
    const state = await scene.reaches("mapped");
    assert.equal(state.lease?.protocol, "upnp");
    await until("the other one given back", () => pcp.mappings.size === 0);
  }
  const again = new FakeControl(pcp.answers), igd = new FakeIgd();
  igd.external = "192.168.0.2";
  await using scene = new Scene({ control: again, ssdp: igd });
  const state = await scene.reaches("behind_another_nat");
  assert.equal(`${state.lease?.external}`, "100.64.3.4:8000");
  assert.match(state.problem!, /100\.64\.3\.4, is private/);
  await until("the other one given back", () => igd.entries.size === 0);
});

Deno.test("no router is asked if packets are not allowed, or our own address is public", async () => {
  const control = new FakeControl(new PcpState().answers), ssdp = new FakeIgd();
  {
    await using scene = new Scene({ control, ssdp });
    scene.host.allows = () => false;
    await scene.reaches("none");
    assert.deepEqual([control.requests.length, ssdp.requests.length], [0, 0]);
  }
  const other = new FakeControl(new PcpState().answers);
  await using scene = new Scene({ control: other });
  scene.network.own = endpointOf("45.83.113.50", 1);
  assert.equal((await scene.reaches("not_needed")).problem, null);
  assert.equal(other.requests.length, 0);
  // In another network, the search starts at once.
  scene.network.own = endpointOf("127.0.0.1", 1);
  await scene.reaches("mapped");
  // The machine leaves that network too.
  scene.network.own = undefined;
  scene.mapping.recheck();
  assert.match((await scene.reaches("none")).problem!, /no IPv4 address/);
  assert.deepEqual(scene.changes.map(({ status }) => status), [
    "not_needed",
    "mapped",
    "searching",
    "none",
  ]);
});

Deno.test("the port that peers see is requested instead of the mapped one, a few times", async () => {
  for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
    const router = protocol === "upnp" ? { ssdp: new FakeIgd() } : {
      control: new FakeControl((protocol === "pcp" ? new PcpState() : new NatPmpState()).answers),
    };
    await using scene = new Scene(router);
    await scene.reaches("mapped");
    for (const port of [30_000, 30_001, 30_002, 30_003]) {
      scene.mapping.prefer(4, port);
      await until("moved", () => scene.state.lease?.external.port === port);
      await until("idle", () => scene.isIdle);
      scene.mapping.prefer(4, port);
    }
    for (const port of [30_000, 30_004, 80]) {
      scene.mapping.prefer(4, port);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(scene.state.lease!.external.port, 30_003);
    }
    if (router.ssdp) assert.deepEqual([...router.ssdp.entries.keys()], [30_003]);
  }
});

Deno.test("a failed search is repeated at growing intervals", async () => {
  const ssdp = new FakeIgd();
  ssdp.overrule.set("AddPortMapping", () => ({ error: 606 }));
  await using scene = new Scene({ ssdp });
  await scene.reaches("none");
  const attempts = () => ssdp.calls.filter((call) => call === "AddPortMapping").length;
  const minutes: number[] = [];
  const begun = scene.clock.now();
  for (let known = attempts(); minutes.length < 4;) {
    scene.clock.advance(MINUTE / 2);
    await passUntil(scene.clock, "idle", () => scene.isIdle);
    if (attempts() === known) continue;
    known = attempts();
    minutes.push((scene.clock.now() - begun) / MINUTE);
  }
  const pauses = minutes.map((minute, i) => Math.round(minute - (minutes[i - 1] ?? 0)));
  assert.deepEqual(pauses, [1, 2, 4, 8]);
});

/** A mapped port at a router that has just started, and that sends announcements for the test. */
async function announcing(state: PcpState | NatPmpState) {
  const control = new FakeControl(state.answers);
  const probe = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr as Deno.NetAddr;
  probe.close();
  const scene = new Scene({ control }, port), { clock } = scene;
  let startedAt = clock.now();
  Object.defineProperty(state, "epochS", { get: () => (clock.now() - startedAt) / 1_000 });
  await scene.reaches("mapped");
  await until("idle", () => scene.isIdle);
  return {
    scene,
    control,
    restart() {
      state.mappings.clear();
      startedAt = clock.now();
    },
    async announce(times: number) {
      const router = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
      for (let i = 0; i < times; i++) {
        await router.send(new Uint8Array(24), { transport: "udp", hostname: "127.0.0.1", port });
      }
      router.close();
    },
    [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose](),
  };
}

Deno.test("an announcement causes a check and a renewal, at most every five seconds", async () => {
  const pcp = new PcpState();
  await using router = await announcing(pcp);
  const { scene, control, restart, announce } = router, { clock } = scene;
  const begun = clock.now(), before = control.requests.length;
  const rounds = () => 1 + Math.floor((clock.now() - begun) / 5_000);
  for (let i = 1; i <= 5; i++) {
    await announce(50);
    await passUntil(clock, "renewed", () => scene.state.renewals >= i);
    const asked = control.requests.length - before;
    assert.ok(asked <= 2 * rounds(), `${asked} requests in ${clock.now() - begun} ms`);
  }
  assert.equal(scene.state.made, 1);
  restart();
  await announce(1);
  await passUntil(clock, "made again", () => scene.state.made === 2);
});

Deno.test("a router that restarts twice within seconds is asked again, even if its epoch time fits", async () => {
  for (const state of [new PcpState(), new NatPmpState()]) {
    await using router = await announcing(state);
    const { scene, restart, announce } = router, { clock } = scene;
    for (let i = 1; i <= 2; i++) {
      restart();
      const begun = clock.now();
      await announce(1);
      await passUntil(clock, "mapped again", () => state.mappings.size === 1);
      assert.ok(clock.now() - begun < 15_000, `${clock.now() - begun} ms`);
      await until("idle", () => scene.isIdle);
    }
  }
});

Deno.test("closing ends in time although the router does not answer", async () => {
  const pcp = new PcpState(), control = new FakeControl(pcp.answers);
  await using scene = new Scene({ control });
  await scene.reaches("mapped");
  control.answers = () => [];
  const begun = scene.clock.now();
  let isClosed = false;
  void scene.mapping.close().then(() => isClosed = true);
  await passUntil(scene.clock, "closed", () => isClosed);
  assert.ok(scene.clock.now() - begun < 2_500);
  assert.equal(scene.state.status, "off");
});

Deno.test("closing releases a mapping that is still being made", async () => {
  const pcp = new PcpState();
  let isAsked = false;
  const control = new FakeControl((request) => {
    isAsked ||= request[1] === 1;
    return pcp.answers(request);
  });
  await using scene = new Scene({ control });
  scene.start();
  await passUntil(scene.clock, "asked", () => isAsked);
  let isClosed = false;
  void scene.mapping.close().then(() => isClosed = true);
  await passUntil(scene.clock, "closed", () => isClosed);
  assert.equal(pcp.mappings.size, 0);
});
