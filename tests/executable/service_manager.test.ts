// Notifications to the service manager: ready, alive, stopping. tests/systemd tests a booted systemd.

import assert from "node:assert/strict";
import { join } from "node:path";
import { logsToJournal, ServiceManager } from "../../src/runtime/process/service_manager.ts";

/** Sets variables while `body` runs. */
async function withEnv(env: Record<string, string>, body: () => Promise<void>): Promise<void> {
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  try {
    await body();
  } finally {
    for (const name of Object.keys(env)) Deno.env.delete(name);
  }
}

if (Deno.build.os !== "windows") {
  Deno.test("the node notifies the service manager when it is ready, alive and stopping", async () => {
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
      assert.ok(performance.now() - begun < 200, "at least once within its time");
      await manager.stopping();
      assert.equal(await next(), "STOPPING=1\nSTATUS=Stopping");
      manager.close();
    });
    heard.close();
    await Deno.remove(directory, { recursive: true });
  });

  Deno.test("the node ignores a watchdog that is meant for another process", async () => {
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

  Deno.test("the node continues if the service manager is unreachable", async () => {
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

Deno.test("log lines have priorities only if standard output is the journal", async () => {
  assert.equal(logsToJournal(), false);
  await withEnv({ JOURNAL_STREAM: "8:1", SYSTEMD_EXEC_PID: String(Deno.pid) }, async () => {
    assert.equal(await logsToJournal(), true);
  });
  await withEnv({ JOURNAL_STREAM: "8:1", SYSTEMD_EXEC_PID: "1" }, async () => {
    assert.equal(await logsToJournal(), false);
  });
});
