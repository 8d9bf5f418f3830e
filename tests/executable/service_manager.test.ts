// What a service manager hears of the node: ready, alive, stopping. A booted systemd is in tests/systemd.

import assert from "node:assert/strict";
import { join } from "node:path";
import { logsToJournal, ServiceManager } from "../../src/runtime/service_manager.ts";

/** Sets variables for as long as `body` runs. */
async function withEnv(env: Record<string, string>, body: () => Promise<void>): Promise<void> {
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  try {
    await body();
  } finally {
    for (const name of Object.keys(env)) Deno.env.delete(name);
  }
}

if (Deno.build.os !== "windows") {
  Deno.test("it is told when the node is ready, that it lives, and when it stops", async () => {
    const directory = await Deno.makeTempDir();
    const path = join(directory, "notify");
    const heard = Deno.listenDatagram({ transport: "unixpacket", path });
    const next = async () => new TextDecoder().decode((await heard.receive())[0]);
    const env = {
      NOTIFY_SOCKET: path,
      WATCHDOG_USEC: "100000",
      WATCHDOG_PID: String(Deno.pid),
    };
    await withEnv(env, async () => {
      const manager = ServiceManager.connect(directory)!;
      assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["notify"]);
      await manager.ready("Node 1");
      assert.equal(await next(), "READY=1\nSTATUS=Node 1");
      const begun = performance.now();
      assert.equal(await next(), "WATCHDOG=1");
      assert.equal(await next(), "WATCHDOG=1");
      assert.ok(performance.now() - begun < 200, "at least once within the time it has");
      await manager.stopping();
      assert.equal(await next(), "STOPPING=1\nSTATUS=Stopping");
      manager.close();
    });
    heard.close();
    await Deno.remove(directory, { recursive: true });
  });

  Deno.test("a watchdog of another process is not ours", async () => {
    const directory = await Deno.makeTempDir();
    const path = join(directory, "notify");
    const heard = Deno.listenDatagram({ transport: "unixpacket", path });
    const env = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "1000", WATCHDOG_PID: "1" };
    await withEnv(env, async () => {
      const manager = ServiceManager.connect(directory)!;
      await manager.ready("Node 1");
      await heard.receive();
      await new Promise((resolve) => setTimeout(resolve, 20));
      await manager.stopping();
      const [bytes] = await heard.receive();
      assert.match(new TextDecoder().decode(bytes), /^STOPPING/);
      manager.close();
    });
    heard.close();
    await Deno.remove(directory, { recursive: true });
  });

  Deno.test("a service manager that can't be reached stops nothing", async () => {
    const directory = await Deno.makeTempDir();
    await withEnv({ NOTIFY_SOCKET: join(directory, "nobody") }, async () => {
      assert.equal(ServiceManager.connect(join(directory, "missing")), undefined);
      const manager = ServiceManager.connect(directory)!;
      await manager.ready("Node 1");
      await manager.stopping();
      manager.close();
    });
    assert.equal(ServiceManager.connect(directory), undefined);
    await Deno.remove(directory, { recursive: true });
  });
}

Deno.test("lines carry priorities for the journal alone, not where its variable was inherited", async () => {
  assert.equal(logsToJournal(), false);
  await withEnv({ JOURNAL_STREAM: "8:1", SYSTEMD_EXEC_PID: String(Deno.pid) }, async () => {
    assert.equal(await logsToJournal(), true);
  });
  await withEnv({ JOURNAL_STREAM: "8:1", SYSTEMD_EXEC_PID: "1" }, async () => {
    assert.equal(await logsToJournal(), false);
  });
});
