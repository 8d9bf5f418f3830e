// Drives a real browser. Each page records its requests, console messages and policy violations, and checks them when
// it closes.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

/** Debian's Chromium, unless CHROMIUM names another browser. */
const CHROMIUM = Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium";

/** Directory of the pictures; git ignores it. */
export const ARTIFACTS = fileURLToPath(new URL("../../artifacts/dashboard", import.meta.url));

/** Time limit for any element to appear. */
export const WITHIN_MS = 60_000;

/** The browser repeats requests if an interface of the machine comes or goes, as in other tests. */
const NETWORK_CHANGED = /ERR_NETWORK_CHANGED/;

/** A page, and a record of what happened in it. */
export class Visit {
  readonly page: Page;
  readonly #origin: string;
  /** Errors and warnings of the console, and uncaught exceptions. */
  readonly complaints: string[] = [];
  /** Requests to other origins than the page's own. */
  readonly foreign: string[] = [];
  /** Directives of the content security policy that the page violated. */
  readonly violations: string[] = [];

  constructor(page: Page, origin: string) {
    this.page = page;
    this.#origin = new URL(origin).origin;
    page.setDefaultTimeout(WITHIN_MS);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(`${error.stack ?? error}`));
    page.on("request", (request) => this.#note(request.url()));
    page.on("websocket", (socket) => this.#note(socket.url()));
  }

  #note(address: string): void {
    const url = new URL(address);
    if (url.protocol === "data:" || url.protocol === "blob:") return;
    if (url.origin.replace(/^ws/, "http") !== this.#origin) this.foreign.push(address);
  }

  /** Closes the page. Fails if the page reported a problem that `expected` does not match. */
  async end(expected?: RegExp): Promise<void> {
    await this.page.context().close();
    const complaints = this.complaints.filter((text) =>
      !expected?.test(text) && !NETWORK_CHANGED.test(text)
    );
    assert.deepEqual(complaints, [], "the page complained");
    assert.deepEqual(this.foreign, [], "the page asked other hosts");
    assert.deepEqual(this.violations, [], "the page broke its policy");
  }
}

/** A browser for the tests of a file. */
export class TestBrowser {
  readonly #browser: Browser;

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async launch(): Promise<TestBrowser> {
    // Chromium has no sandbox as root, and /dev/shm is small in containers.
    const args = ["--no-sandbox", "--disable-dev-shm-usage", "--js-flags=--expose-gc"];
    return new TestBrowser(await chromium.launch({ executablePath: CHROMIUM, args }));
  }

  /** Opens the page `hash` of `origin`. */
  async visit(
    origin: string,
    hash = "#/",
    options: BrowserContextOptions = {},
    before: (page: Page) => Promise<void> = () => Promise.resolve(),
  ): Promise<Visit> {
    const context = await this.#browser.newContext({
      viewport: { width: 1440, height: 900 },
      acceptDownloads: true,
      ...options,
    });
    const page = await context.newPage();
    const visit = new Visit(page, origin);
    await page.exposeFunction("noteViolation", (text: string) => visit.violations.push(text));
    await page.addInitScript({
      content: `document.addEventListener("securitypolicyviolation", (event) => {
        noteViolation(event.effectiveDirective + " " + event.blockedURI);
      });`,
    });
    await before(page);
    await page.goto(`${origin}/${hash}`);
    return visit;
  }

  /** Takes a picture of each open page. */
  async picture(name: string): Promise<void> {
    const pages = this.#browser.contexts().flatMap((context) => context.pages());
    for (const [i, page] of pages.entries()) {
      await page.screenshot({ path: `${ARTIFACTS}/failed-${name.slice(0, 40)}-${i}.png` });
    }
  }

  async close(): Promise<void> {
    await this.#browser.close();
  }
}

/** Turns off Deno's leak checks, which a browser would fail. */
export const NO_SANITIZERS = { sanitizeOps: false, sanitizeResources: false } as const;

/** Defines a test that has a browser of its own. */
export function browserTest(
  name: string,
  run: (browser: TestBrowser, test: Deno.TestContext) => Promise<void>,
): void {
  Deno.test({
    ...NO_SANITIZERS,
    name,
    fn: async (test) => {
      const browser = await TestBrowser.launch();
      try {
        await run(browser, test);
      } catch (error) {
        await browser.picture(name.replaceAll(/\W+/g, "-"));
        throw error;
      } finally {
        await browser.close();
      }
    },
  });
}

/** Polls until `holds` returns true. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WITHIN_MS;
  while (!await holds()) {
    assert.ok(performance.now() < deadline, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
