// The dashboard in front of a node without a network, whose answers a test sets.

import { createApi } from "../../src/api/app.ts";
import { noRefusals } from "../../src/api/limits.ts";
import { serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService } from "../api/fake_service.ts";
import { browserTest, NO_SANITIZERS, type TestBrowser } from "./browser.ts";

/** A value that the fake node holds under `hash`. */
export function holdText(service: FakeService, hash: string, text: string): void {
  const bytes = new TextEncoder().encode(text);
  const rest = { isBencode: false, seq: null, publicKey: null };
  service.values.set(hash, { hash, kind: "immutable", bytes, ...rest });
}

type Step = (browser: TestBrowser, api: string, service: FakeService) => Promise<void>;

/** Defines a test with a step for each behaviour. The steps share a browser, and each has a fake node of its own. */
export function fakeNodeTest(name: string, steps: Readonly<Record<string, Step>>): void {
  browserTest(name, async (browser, test) => {
    for (const [behaviour, run] of Object.entries(steps)) {
      const fn = async () => {
        const service = new FakeService(), refusals = noRefusals();
        const app = createApi({ service, config: loadConfig(), refusals });
        const server = await serveApi(app, { hostnames: ["127.0.0.1"], port: 0, refusals });
        try {
          await run(browser, server.url, service);
        } finally {
          await server.close();
        }
      };
      await test.step({ ...NO_SANITIZERS, name: behaviour, fn });
    }
  });
}
