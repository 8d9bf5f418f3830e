// `dmnode watch`: shows a running node live on a terminal, or prints its events as lines of JSON.

import { Api, type ApiFlags } from "./client/api_client.ts";
import { type NodeEvent, parseEvent, receiveEvents } from "./client/event_stream.ts";
import type { Stats } from "../reports/stats.ts";
import type { Peer, Peers } from "../reports/peers.ts";
import { UserError } from "./terminal/errors.ts";
import { untilInterrupted } from "./terminal/interrupt.ts";
import { print, stdout, terminalSize } from "./terminal/terminal.ts";
import { eventLine, renderWatch, stateLine, WatchedNode } from "./watch_view.ts";

interface WatchFlags extends ApiFlags {
  readonly types?: string;
  readonly since?: number;
}

/** The delay between an event and the redraw that shows it. */
const REDRAW_MS = 100;

/** The interval at which a terminal that can't redraw gets a line about the node. */
const STATE_INTERVAL_MS = 30_000;

/** The interval at which to request the list of peers, and the delay of a request after an event about a peer. */
const PEERS_INTERVAL_MS = 5_000, PEERS_DELAY_MS = 500;

/** Watches a node until the user presses a key to quit, or a signal arrives. */
export async function watch(flags: WatchFlags): Promise<void> {
  const api = new Api(flags);
  const isForPeople = !flags.json && stdout.isTerminal && Deno.stdin.isTerminal();
  // A terminal with TERM=dumb can't redraw its screen.
  const isDumb = isForPeople && Deno.env.get("TERM") === "dumb";
  if (isForPeople && !isDumb) {
    return await untilInterrupted((signal) => showNode(api, flags, signal));
  }
  let { since } = flags;
  const request = () => ({ url: api.at("/events", { types: flags.types, since }) });
  const show = isDumb ? linePrinter() : (_: NodeEvent, text: string) => print(text);
  const onData = (text: string) => {
    const event = parseEvent(text);
    since = event.id ?? since;
    show(event, text);
  };
  await untilInterrupted((signal) => receiveEvents(api, { request, onData }, signal));
}

/** Returns a function that prints a line for each event and, at most every 30 s, a line about the node. */
function linePrinter(): (event: NodeEvent) => void {
  let nextStateAt = -Infinity;
  return (event) => {
    const line = eventLine(event);
    if (line !== undefined) print(line);
    const now = performance.now();
    if (event.type !== "stats" || now < nextStateAt) return;
    nextStateAt = now + STATE_INTERVAL_MS;
    print(stateLine(event.at, event.data as unknown as Stats));
  };
}

async function showNode(api: Api, flags: WatchFlags, signal: AbortSignal): Promise<void> {
  const node = new WatchedNode(flags.types);
  const keys = new AbortController();
  const view = { url: api.url, paint: stdout.paint.bind(stdout) };
  const screen = new Screen((size) => renderWatch(node, { ...size, ...view, now: Date.now() }));
  const peers = pollPeers(api, (list) => {
    node.peers = list;
    screen.drawSoon();
  });
  try {
    await receiveEvents(api, {
      request: () => ({ url: api.at("/events", { since: node.lastId }) }),
      onOpen(isFirst) {
        node.lost = undefined;
        screen.drawSoon();
        if (!isFirst) return;
        screen.open();
        peers.requestSoon();
        void untilQuit().then(() => keys.abort());
      },
      onData(text) {
        if (node.note(parseEvent(text))) peers.requestSoon();
        screen.drawSoon();
      },
      onLost(reason, waitMs) {
        node.lost = { reason, retryAt: Date.now() + waitMs };
        screen.drawSoon();
      },
    }, AbortSignal.any([signal, keys.signal]));
  } catch (error) {
    if (!keys.signal.aborted) throw error;
  } finally {
    peers.stop();
    screen.close();
  }
}

/** Requests the list of peers regularly, since events don't contain scores or round-trip times. */
function pollPeers(api: Api, onPeers: (peers: readonly Peer[]) => void) {
  let soon: ReturnType<typeof setTimeout> | undefined;
  const request = async () => {
    clearTimeout(soon);
    soon = undefined;
    try {
      onPeers((await api.get<Peers>("/network/peers", "peers")).peers);
    } catch (error) {
      // Ignore this error: if the node is gone, the connection for events fails too, and the view shows why.
      if (!(error instanceof UserError)) throw error;
    }
  };
  const interval = setInterval(request, PEERS_INTERVAL_MS);
  return {
    requestSoon: () => void (soon ??= setTimeout(request, PEERS_DELAY_MS)),
    stop() {
      clearInterval(interval);
      clearTimeout(soon);
    },
  };
}

/** The first byte that terminals send for special keys, such as the arrow keys. */
const ESCAPE = 0x1b;

/** The bytes of q, Q and Ctrl-C. In raw mode, Ctrl-C sends a byte instead of a signal. */
const QUIT = [0x71, 0x51, 0x03];

/** Resolves when the user types q or Ctrl-C, or the terminal is closed. */
async function untilQuit(): Promise<void> {
  const buffer = new Uint8Array(64);
  for (;;) {
    const length = await Deno.stdin.read(buffer).catch(() => null);
    if (length === null) return;
    const keys = buffer.subarray(0, length);
    if (keys[0] !== ESCAPE && keys.some((key) => QUIT.includes(key))) return;
  }
}

// Control sequences (ECMA-48, xterm). OPEN shows the alternate screen and turns off the cursor and wrapping. CLOSE
// undoes this.
const OPEN = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J", CLOSE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/** Sequences around a frame. Terminals that support them show everything written in between at once. */
const BEGIN_FRAME = "\x1b[?2026h", END_FRAME = "\x1b[?2026l";

type Size = ReturnType<typeof terminalSize>;

/** Draws on the whole screen of the terminal. A redraw writes only the lines that changed. */
class Screen {
  readonly #render: (size: Size) => readonly string[];
  readonly #resized = () => this.#draw();
  #shown: readonly string[] = [];
  #size: Size = { columns: 0, rows: 0 };
  #isOpen = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #clock: ReturnType<typeof setInterval> | undefined;

  constructor(render: (size: Size) => readonly string[]) {
    this.#render = render;
  }

  open(): void {
    Deno.stdin.setRaw(true);
    this.#isOpen = true;
    stdout.write(OPEN);
    // Windows has no SIGWINCH. There, a new size is detected by the redraw that happens every second.
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGWINCH", this.#resized);
    this.#clock = setInterval(this.#resized, 1_000);
    this.#draw();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#timer);
    clearInterval(this.#clock);
    if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGWINCH", this.#resized);
    Deno.stdin.setRaw(false);
    stdout.write(CLOSE);
  }

  drawSoon(): void {
    if (!this.#isOpen) return;
    this.#timer ??= setTimeout(() => this.#draw(), REDRAW_MS);
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const size = terminalSize();
    const isSame = size.columns === this.#size.columns && size.rows === this.#size.rows;
    const before = isSame ? this.#shown : [];
    const lines = this.#render(size);
    const changed = lines.map((line, i) =>
      line === before[i] ? "" : `\x1b[${i + 1};1H${line}\x1b[K`
    );
    this.#shown = lines;
    this.#size = size;
    const text = (isSame ? "" : "\x1b[2J") + changed.join("");
    if (text !== "") stdout.write(BEGIN_FRAME + text + END_FRAME);
  }
}
