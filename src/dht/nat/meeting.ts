// Makes us reachable behind a NAT that blocks strangers: registers at introducers, and answers
// messages that they forward.

import { bencodeBytes } from "../../krpc/bencode.ts";
import { type Endpoint, type Family, mayRefer } from "../../krpc/endpoint.ts";
import type { Message } from "../../krpc/message.ts";
import { Allowance } from "../allowance.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Deadlines, Millis } from "../deadlines.ts";
import type { Outbox } from "../outbox.ts";
import type { Random } from "../random.ts";
import type { Searches } from "../search/searches.ts";
import type { Responder } from "../serving/responder.ts";
import type { Bursts } from "./burst.ts";
import { MAX_FORWARDED_BYTES } from "./introducer.ts";
import type { Nats } from "./nat.ts";
import { NAT_CODE, type NatState } from "./nat_state.ts";
import { Registration } from "./registration.ts";

/**
 * Limits on the introductions that we act on. For each introduction, we send one packet to a stranger and one to the
 * introducer.
 */
const INTRODUCED_PER_SECOND = 4, INTRODUCED_BURST = 16;

/** How long we keep answering an introduced node after its latest query. */
const INTRODUCED_MS = 60_000;

/** Cap on the addresses of introduced nodes that we remember. */
const MAX_INTRODUCED = 64;

/**
 * Options for answering a forwarded query. The reply goes through the introducer and must be small, so it lists no
 * nodes.
 */
const TO_CONTACT = { keepsAsker: true, isSmall: true, maxBytes: MAX_FORWARDED_BYTES };
const TO_STRANGER = { ...TO_CONTACT, keepsAsker: false };

/** The route by which the answer to a forwarded message returns. */
interface WayBack {
  /** The sender's endpoint, as the introducer sees it. */
  readonly sender: Endpoint;
  readonly via: Endpoint;
  /** The token that the introducer requires with the answer. */
  readonly token: Uint8Array;
}

interface MeetingParts {
  readonly nats: Nats;
  readonly searches: Searches;
  readonly responder: Responder;
  readonly bursts: Bursts;
  readonly deadlines: Deadlines;
  readonly random: Random;
}

export class Meeting {
  readonly #parts: MeetingParts;
  readonly #outbox: Outbox;
  readonly #registrations: { readonly [F in Family]?: Registration };
  readonly #allowance = new Allowance(INTRODUCED_PER_SECOND, INTRODUCED_BURST);
  /** The addresses of introduced nodes, each with the time until which we answer queries from there. */
  readonly #introduced = new BoundedMap<string, Millis>(MAX_INTRODUCED);

  constructor(parts: MeetingParts) {
    this.#parts = parts;
    this.#outbox = parts.responder.outbox;
    const { searches, deadlines, random } = parts;
    this.#registrations = Object.fromEntries(
      searches.tables.families.map((family) => [
        family,
        new Registration({ searches, family, deadlines, random }),
      ]),
    );
  }

  /** The number of nodes at which we are registered. */
  get registrars(): number {
    return Object.values(this.#registrations).reduce((sum, { count }) => sum + count, 0);
  }

  /** Keeps us registered at introducers, unless strangers can reach us without them. */
  noteNat({ family, wantsIntroducers }: NatState, now: Millis): void {
    const registration = this.#registrations[family];
    if (wantsIntroducers) registration?.start(now);
    else registration?.stop();
  }

  /** Registers us again. Called when our id has changed, or when introducers may have forgotten us. */
  registerAgain(now: Millis): void {
    for (const registration of Object.values(this.#registrations)) registration.restart(now);
  }

  /**
   * Whether to answer a query even if we are read-only: the query was forwarded, or its sender is one of our
   * introducers or was introduced to us.
   */
  admits({ id, method, token, keeps }: Message, from: Endpoint, now: Millis): boolean {
    if (id !== undefined) this.#parts.bursts.meet(id, from, now);
    if (method === "dm_pass" && token === undefined) return true;
    const isIntroducer = this.#registrations[from.family]?.at(from) !== undefined;
    if (!isIntroducer && this.#introduced.size === 0) return false;
    // A ping with `keeps` comes from a node that has us in its table. We ignore it, so that the node drops us: no table
    // should keep nodes that strangers can't reach.
    if (method === "ping" && keeps === true) return false;
    if (isIntroducer) return true;
    const until = this.#introduced.get(from.host);
    if (until === undefined || until < now) return false;
    this.#admit(from, now);
    return true;
  }

  #admit({ host }: Endpoint, now: Millis): void {
    this.#introduced.set(host, now + INTRODUCED_MS);
  }

  /** Handles the query `inner` that the introducer at `via` forwarded to us in `outer`. */
  receive(
    { inner, outer, via }: { inner: Message; outer: Message; via: Endpoint },
    now: Millis,
  ): void {
    const { searches, responder } = this.#parts;
    const { traffic } = this.#outbox;
    const { values, returnToken } = outer;
    const sender = values?.[0];
    const isFit = this.#registrations[via.family]?.at(via) !== undefined &&
      sender !== undefined && returnToken !== undefined && sender.family === via.family &&
      mayRefer(via, sender);
    if (!isFit) return traffic.drop("not_introduced");
    if (!this.#allowance.take(now)) return traffic.drop("over_budget");
    const back = { sender, via, token: returnToken.slice() };
    if (inner.method === "dm_punch") {
      this.#meet({ inner, maxBytes: outer.packet.length, back }, now);
    } else if (inner.method === "ping" || inner.method === "get") {
      const isContact = inner.id !== undefined &&
        searches.tables.at(sender, inner.id) !== undefined;
      const sendLater = () => this.#sendBack(back);
      const options = { ...(isContact ? TO_CONTACT : TO_STRANGER), sendLater };
      if (responder.answer(inner, sender, now, options) !== undefined) sendLater();
    } else traffic.drop("not_introduced");
  }

  /** Opens our NAT for a node that wants to reach us, with one packet of at most `maxBytes`, and answers its query. */
  #meet(
    { inner, maxBytes, back }: { inner: Message; maxBytes: number; back: WayBack },
    now: Millis,
  ): void {
    const { nats, random } = this.#parts;
    const { sender } = back;
    const nat = nats[sender.family];
    this.#admit(sender, now);
    const tid = random.word();
    const isSent = this.#outbox.send({ method: "dm_punch", tid, to: sender, args: {}, maxBytes });
    if (isSent) nat?.noteSent(sender);
    const natType = nat?.code;
    this.#outbox.writeResponse(inner, sender, { natType, ...this.#offerBurst(inner, back, now) });
    this.#sendBack(back);
  }

  /**
   * If exactly one side's NAT is symmetric, offers or starts a burst. A burst sends many packets, so the other node
   * must first prove that it owns its address: it must return our token through a witness that we choose.
   */
  #offerBurst(
    { id, token, natType }: Message,
    { sender, via }: WayBack,
    now: Millis,
  ): { token?: Uint8Array; values?: Endpoint[] } {
    const { nats, bursts, responder: { tokens } } = this.#parts;
    const isSymmetric = nats[sender.family]?.code === NAT_CODE.symmetric;
    if (isSymmetric === (natType === NAT_CODE.symmetric)) return {};
    const claimed = sender.withPort(0);
    if (token === undefined) {
      const witness = this.#registrations[sender.family]?.witness(via)?.endpoint;
      if (witness === undefined) return {};
      return { token: tokens.issueReturn(claimed, witness, now), values: [witness] };
    }
    if (!tokens.verifyReturn(token, { to: claimed, from: via }, now)) return {};
    const other = id!;
    const hasBurst = bursts.isFor(other) || bursts.start({ other, to: sender, isSymmetric }, now);
    return hasBurst ? { token } : {};
  }

  /** Sends the latest answer in the outbox back through the introducer. */
  #sendBack({ sender, via, token }: WayBack): void {
    const answer = this.#outbox.written;
    if (answer.length > MAX_FORWARDED_BYTES) return;
    const args = { token, values: [sender], value: bencodeBytes(answer) };
    const tid = this.#parts.random.word();
    this.#outbox.send({ method: "dm_pass", tid, to: via, args });
  }
}
