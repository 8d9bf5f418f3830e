// Tests docs/api.md: runs its shell commands against a real node, and checks its responses against the OpenAPI
// document.

import assert from "node:assert/strict";
import { withServedNode } from "../../monitoring/nodes.ts";
import { ServedDocument } from "./document.ts";
import { begins, runs } from "../shell.ts";

/** A fenced code block, with the operation that its section describes. */
interface Block {
  readonly language: string;
  readonly text: string;
  readonly operation: string | undefined;
}

/** The invented peer in the manual's examples. */
const MADE_UP_PEER = "b2".repeat(20), MADE_UP_ADDRESS = "127.0.0.1:8001";

async function blocks(): Promise<Block[]> {
  const text = await Deno.readTextFile(new URL("../../../docs/api.md", import.meta.url));
  const found: Block[] = [];
  let operation: string | undefined;
  const parts = text.matchAll(/^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$/gms);
  for (const [, heading, language, body] of parts) {
    if (heading !== undefined) {
      const named = /`(GET|POST|PUT|DELETE) (\/[^`?]*)/.exec(heading);
      if (named !== null) operation = `${named[1].toLowerCase()} ${named[2]}`;
      else if (/`\/(ws|events)/.test(heading)) operation = "get /events";
      else if (heading === "Errors" || heading === "Access") operation = undefined;
    } else found.push({ language, text: body, operation });
  }
  return found;
}

Deno.test("every shell block of docs/api.md works if it is pasted", async () => {
  const scripts = (await blocks()).filter(({ language }) => language === "sh");
  assert.ok(scripts.length >= 15);
  await withServedNode(3, async ({ node, url }) => {
    // Store the manual's value first, because some sections come before the one that stores it.
    await runs(
      `curl -d '{"value": "Hello World!"}' -H 'Content-Type: application/json' ${url}/network/store`,
    );
    const { peers } = await node.peers();
    for (const { text } of scripts) {
      const script = text.replaceAll("http://127.0.0.1:8080", url)
        .replaceAll(MADE_UP_PEER, peers[0].node_id)
        .replaceAll(MADE_UP_ADDRESS, peers[0].address);
      for (const line of script.trim().split("\n")) {
        if (/ -sN /.test(line)) assert.match(await begins(line), /^(data|event): /m);
        else await runs(line, { API_TOKEN: "a-token" });
      }
    }
  });
});

Deno.test("every response in docs/api.md fits the OpenAPI document", async () => {
  const shown = (await blocks()).filter(({ language }) => language === "json");
  assert.ok(shown.length >= 10);
  await withServedNode(1, async ({ url }) => {
    const document = await ServedDocument.of(url);
    for (const { text, operation } of shown) {
      const value = JSON.parse(text);
      if (value.type === "about:blank") {
        document.validate("/components/schemas/Problem", value, "a problem");
      } else if (operation === "get /events") {
        document.validate("/components/schemas/Event", value, "an event");
      } else if (value.holders !== undefined) {
        document.validate("/components/schemas/Replicas", value, "who holds a value");
      } else {
        assert.ok(operation !== undefined, `of no operation: ${text}`);
        const responses = document.operations.get(operation)?.responses ?? {};
        const status = Object.keys(responses).find((one) => one.startsWith("2"));
        const [method, path] = operation.split(" ");
        const at = `/paths/${encodeURIComponent(path.replaceAll("/", "~1"))}/${method}`;
        const pointer = `${at}/responses/${status}/content/application~1json/schema`;
        document.validate(pointer, value, `the answer to ${operation}`);
      }
    }
  });
});
