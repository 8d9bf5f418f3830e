// Reports about the peers in the routing table.

import type { Contact } from "../../dht/routing/contact.ts";
import type { Millis } from "../../dht/deadlines.ts";
import type { Tables } from "../../dht/routing/tables.ts";
import { distanceBits, Id, ID_BITS } from "../../krpc/id.ts";
import type {
  BucketDistribution,
  Peer,
  PeerDetail,
  Peers,
  PeerSelection,
} from "../../reports/peers.ts";
import { optionalTime, timeText } from "../../reports/time.ts";
import { clientName } from "../../version.ts";
import type { PeerHistory } from "./peer_history.ts";

export class PeerReports {
  constructor(
    private readonly core: { id: Id; tables: Pick<Tables, "contacts" | "find" | "of"> },
    private readonly history: PeerHistory,
    /** Converts a node time to milliseconds since 1970. */
    private readonly wall: (at: Millis) => number,
    private readonly keyOf: (contact: Contact) => string | null = () => null,
  ) {}

  /** Describes one contact, as lists and events show it. */
  peer(contact: Contact): Peer {
    return {
      node_id: `${contact.id}`,
      address: `${contact.endpoint}`,
      distance: distanceBits(contact.id, this.core.id),
      last_seen: timeText(this.wall(contact.lastSeen)),
      health: contact.health,
      rtt_ms: Number.isNaN(contact.rtt) ? null : contact.rtt,
      score: contact.score,
      first_seen: timeText(this.wall(contact.firstSeen)),
      client: clientName(contact.client),
      public_key: this.keyOf(contact),
    };
  }

  /** Returns the selected peers in the requested order. Equal peers are ordered by id. */
  list({ health, sort = "score", limit }: PeerSelection = {}): Peers {
    const rankOf: Record<NonNullable<PeerSelection["sort"]>, (contact: Contact) => number> = {
      score: ({ score }) => -score,
      last_seen: ({ lastSeen }) => -lastSeen,
      first_seen: ({ firstSeen }) => firstSeen,
      distance: ({ id }) => distanceBits(id, this.core.id),
      rtt: ({ rtt }) => Number.isNaN(rtt) ? Infinity : rtt,
    };
    const peers = Array.from(this.core.tables.contacts())
      .filter((contact) => health === undefined || contact.health === health)
      .map((contact) => ({ contact, id: `${contact.id}`, rank: rankOf[sort](contact) }))
      .sort((a, b) => a.rank < b.rank || (a.rank === b.rank && a.id < b.id) ? -1 : 1)
      .slice(0, limit)
      .map(({ contact }) => this.peer(contact));
    const distribution = this.distribution();
    return {
      node_id: `${this.core.id}`,
      peers,
      routing_table_size: Object.values(distribution).reduce((sum, n) => sum + n, 0),
      bucket_distribution: distribution,
    };
  }

  /** Counts the contacts in each range of distances. */
  distribution(): BucketDistribution {
    const distribution: BucketDistribution = {
      "0-20": 0,
      "21-40": 0,
      "41-60": 0,
      "61-80": 0,
      "81-100": 0,
      "101-120": 0,
      "121-140": 0,
      "141-160": 0,
    };
    const ranges = Object.keys(distribution) as (keyof BucketDistribution)[];
    for (const { id } of this.core.tables.contacts()) {
      const distance = distanceBits(id, this.core.id);
      distribution[ranges[Math.max(0, Math.ceil(distance / 20) - 1)]]++;
    }
    return distribution;
  }

  /**
   * Returns the details of a peer. Undefined if no peer with this id is in the routing table or has left it recently.
   */
  detail(id: string): PeerDetail | undefined {
    const record = this.history.get(id);
    const present = this.core.tables.find(Id.from(id));
    const contact = present ?? record?.contact;
    if (contact === undefined) return undefined;
    const peer = this.peer(contact);
    const buckets = this.core.tables.of(contact.endpoint.family).bucketCount;
    // Report null for a query or response that has never happened: its time is not positive.
    const time = (ms: number) => optionalTime(ms > 0 ? this.wall(ms) : null);
    return {
      ...peer,
      health: present === undefined ? "gone" : peer.health,
      score_parts: { ...contact.scoreParts },
      rtt_variation_ms: peer.rtt_ms === null ? null : contact.rttVariation,
      misses: contact.misses,
      faults: contact.faults,
      keeps_us: contact.keepsUs ?? null,
      last_query: time(contact.lastQuery),
      last_response: time(contact.lastResponse),
      next_check: optionalTime(present === undefined ? null : this.wall(present.checkAt)),
      bucket: present === undefined ? null : Math.min(ID_BITS - peer.distance, buckets - 1),
      history: (record?.changes ?? []).map((change) => ({
        ...change,
        at: timeText(this.wall(change.at)),
      })),
    };
  }
}
