// The thread of the API's front: it handles sockets and bytes, so that the one with the node need not. An executable holds
// it as a module of its own (packaging/compile.ts).

import type { FrontReport } from "./front_messages.ts";
import { serveFront } from "./front_service.ts";

const thread = globalThis as unknown as
  & Parameters<typeof serveFront>[0]
  & Pick<typeof globalThis, "addEventListener">;

// A rejection that nobody awaited is a defect, but not worth the API.
thread.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  const { reason } = event;
  const message = reason instanceof Error ? reason.stack ?? reason.message : String(reason);
  thread.postMessage([{ type: "failed", message } satisfies FrontReport]);
});
serveFront(thread);
