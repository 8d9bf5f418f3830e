// Explains why strangers can or can't reach a node: the case, its evidence, and the remedy for this very case.

import { isLoopback } from "./findings.js";
import { plural } from "./format.js";

/** @typedef {import("../reports/stats.ts").Stats} Stats */
/** @typedef {Stats["nat"]["families"][number]} Family */

/**
 * @typedef {object} Step one thing to do
 * @property {string} text
 * @property {string} [command] a line to copy
 * @property {readonly { text: string, command: string }[]} [ways] ways of doing it, for different systems
 *
 * @typedef {object} Case
 * @property {"ok" | "warn" | "dim"} tone
 * @property {string} title
 * @property {string[]} evidence sentences
 * @property {Step[]} remedy empty if there is nothing to do
 */

/** The UDP port of the node. @param {readonly string[]} addresses */
function portOf(addresses) {
  return /:(\d+)$/.exec(addresses[0] ?? "")?.[1] ?? "8000";
}

/** An address without its port. @param {string} address */
function hostOf(address) {
  return address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}

/** Whether an IPv4 address belongs to a provider's own NAT (RFC 6598). @param {string} host */
function isCarrierAddress(host) {
  const [a, b] = host.split(".").map(Number);
  return a === 100 && b >= 64 && b < 128;
}

/**
 * Returns the case of each address family that peers see; one case if they see none.
 *
 * @param {Pick<Stats, "nat" | "addresses" | "peers"> & { config?: Stats["config"] }} stats
 * @returns {(Case & { family: 4 | 6 | null })[]}
 */
export function reachCases(stats) {
  const { nat, addresses, peers } = stats;
  if (isLoopback(addresses)) {
    return [{
      family: null,
      tone: "dim",
      title: "Only programs on this machine can reach this node",
      evidence: [
        `The node listens on ${addresses.join(", ")}, because it runs without --allow-net.`,
      ],
      remedy: [
        { text: "Restart it, so that it talks to any address:", command: "dmnode --allow-net" },
        {
          text: "Or name the networks that it may talk to:",
          command: "dmnode --allow-net=192.168.0.0/16",
        },
      ],
    }];
  }
  const seen = nat.families.filter(({ external_address }) => external_address !== null);
  if (seen.length > 0) {
    return seen.map((family) => ({ family: family.family, ...familyCase(family, stats) }));
  }
  const all = peers.healthy + peers.degraded + peers.unhealthy;
  return [{
    family: null,
    tone: "dim",
    title: "Nobody has told this node its external address yet",
    evidence: [
      all === 0
        ? "The node has no peers, and only peers can see its external address."
        : `None of ${plural(all, "peer")} has reported the address that it sees.`,
    ],
    remedy: all === 0
      ? [{ text: "Join a network first:", command: "dmnode --allow-net --bootstrap HOST:PORT" }]
      : [{ text: "Wait a few minutes: peers report the address in their answers." }],
  }];
}

/** @param {Family} family @param {Parameters<typeof reachCases>[0]} stats @returns {Case} */
function familyCase(family, stats) {
  const evidence = evidenceOf(family);
  if (family.reachable === true) {
    return { tone: "ok", title: "Strangers can reach this node", evidence, remedy: [] };
  }
  if (family.reachable === null) {
    return {
      tone: "dim",
      title: "Not known yet",
      evidence,
      remedy: [{
        text:
          "Wait a few minutes: peers test it with packets from addresses that this node does not know.",
      }],
    };
  }
  const { title, more, remedy } = unreachableCase(family, stats);
  return { tone: "warn", title, evidence: [...evidence, ...more], remedy };
}

/** @param {Family} family */
function evidenceOf({ external_address, type, evidence }) {
  const { votes, voters, port_voters, same_port, reason, probes, missed, arrived_from } = evidence;
  return [
    `${votes} of ${plural(voters, "peer")} see this node at ${external_address}.`,
    ...type === "none" ? ["That is an address of this machine, so there is no NAT."] : [],
    ...type !== "none" && port_voters > 1
      ? [
        type === "symmetric"
          ? `Only ${same_port} of the latest ${
            plural(port_voters, "peer")
          } see the same port, so the NAT uses a port for each peer.`
          : `${same_port} of the latest ${plural(port_voters, "peer")} see the same port.`,
      ]
      : [],
    probes > 0
      ? `Of ${
        plural(probes, "packet")
      } that other nodes sent from addresses unknown to this node, ${missed} did not arrive.`
      : `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`,
    ...arrived_from.length > 0
      ? [`Packets arrived from ${arrived_from.slice(0, 3).join(", ")}.`]
      : [],
  ];
}

/** How to open a port in the firewall. @param {string} port @returns {Step[]} */
function firewallSteps(port) {
  return [
    {
      text: `Allow incoming UDP to port ${port} in the firewall of this machine.`,
      ways: [
        { text: "Linux with ufw", command: `sudo ufw allow ${port}/udp` },
        {
          text: "Linux with firewalld",
          command:
            `sudo firewall-cmd --permanent --add-port=${port}/udp && sudo firewall-cmd --reload`,
        },
        {
          text: "Windows, as administrator",
          command:
            `netsh advfirewall firewall add rule name=dmnode dir=in action=allow protocol=UDP localport=${port}`,
        },
      ],
    },
    {
      text:
        `At a cloud provider, allow incoming UDP to port ${port} in the rules of the network too.`,
    },
  ];
}

/** @param {string} port @param {string} external @returns {Step[]} */
function forwardSteps(port, external) {
  return [
    { text: `In the router, forward UDP port ${port} to port ${port} of this machine.` },
    {
      text: "Then tell the node, so that it does not look for another way:",
      command: `P2P_EXTERNAL=${hostOf(external)}:${port}`,
    },
  ];
}

/**
 * @param {Family} family @param {Parameters<typeof reachCases>[0]} stats
 * @returns {{ title: string, more: string[], remedy: Step[] }}
 */
function unreachableCase(family, { nat, addresses, config }) {
  const port = portOf(addresses), external = family.external_address ?? "";
  const mapping = family.family === 6 ? nat.pinhole : nat.mapping;
  const forwarded = config?.p2p_external ?? [];
  if (config?.read_only) {
    return {
      title: "The node is read-only, so it ignores strangers",
      more: ["READ_ONLY is set."],
      remedy: [{ text: "Remove READ_ONLY from the settings, and restart the node." }],
    };
  }
  if (forwarded.length > 0) {
    return {
      title: "The forwarding that P2P_EXTERNAL names does not work",
      more: [`P2P_EXTERNAL is ${forwarded.join(", ")}.`],
      remedy: [
        {
          text:
            `Check that the router forwards this port as UDP, not only as TCP, to port ${port} of this machine.`,
        },
        { text: "Check that the machine still has the address to which the router forwards." },
        ...firewallSteps(port),
      ],
    };
  }
  if (family.type === "none") {
    return {
      title: "A firewall drops the packets of strangers",
      more: family.family === 6 && mapping !== null
        ? [
          `The router opened no pinhole for IPv6${
            mapping.problem === null ? "" : `: ${mapping.problem}`
          }.`,
        ]
        : [],
      remedy: [
        ...firewallSteps(port),
        ...family.family === 6
          ? [{
            text: `In the router's IPv6 firewall, allow UDP to port ${port} of ${
              hostOf(external)
            }.`,
          }]
          : [],
      ],
    };
  }
  if (mapping?.status === "searching") {
    return {
      title: "The node is still looking for a router that opens the port",
      more: [],
      remedy: [{ text: "Wait a minute." }],
    };
  }
  const inner = mapping?.external_address ?? null;
  if (
    mapping?.status === "behind_another_nat" ||
    (inner !== null && hostOf(inner) !== hostOf(external))
  ) {
    return behindAnotherNat(inner, external);
  }
  if (mapping?.status === "mapped") {
    return {
      title: "The router says that the port is open, but packets do not arrive",
      more: [`The router ${mapping.gateway} maps ${inner} to this machine (${mapping.protocol}).`],
      remedy: [
        ...firewallSteps(port),
        { text: "If that does not help, restart the router, or forward the port there by hand." },
      ],
    };
  }
  if (nat.mode === "off") {
    return {
      title: "A NAT blocks strangers, and the node may not ask the router to open a port",
      more: ["NAT=off is set."],
      remedy: [
        { text: "Let the node ask the router:", command: "NAT=auto" },
        { text: "Or open the port by hand:" },
        ...forwardSteps(port, external),
      ],
    };
  }
  return {
    title: family.type === "symmetric"
      ? "A NAT with a port for each peer blocks strangers"
      : "A NAT blocks strangers, and no router opens the port",
    more: mapping?.problem ? [`The router was asked in vain: ${mapping.problem}.`] : [],
    remedy: [
      {
        text: "Turn on UPnP, NAT-PMP or PCP in the router. The node then opens the port by itself.",
      },
      { text: "Or open it by hand:" },
      ...forwardSteps(port, external),
    ],
  };
}

/** @param {string | null} inner @param {string} external */
function behindAnotherNat(inner, external) {
  const host = inner === null ? "" : hostOf(inner);
  const more = inner === null ? [] : [
    `The router has the address ${host}, but peers see ${
      hostOf(external)
    }. Another NAT is between them.`,
  ];
  if (isCarrierAddress(host)) {
    return {
      title: "The provider's own NAT blocks strangers",
      more: [...more, `${host} belongs to a provider's NAT for many customers (RFC 6598).`],
      remedy: [
        { text: "Ask the provider for a public IPv4 address." },
        { text: "Or use IPv6: other nodes with IPv6 can reach this one without that NAT." },
      ],
    };
  }
  return {
    title: "Two routers in a row block strangers",
    more,
    remedy: [
      { text: "Set the outer router, often the provider's box, to bridge mode." },
      { text: "Or forward the port there too, to the address of the inner router." },
    ],
  };
}

/**
 * What works although strangers can't reach the node.
 *
 * @param {Stats["nat"]} nat
 */
export function worksAnyway({ introducers, families }) {
  const filtering = families.find(({ reachable }) => reachable === false)?.filtering;
  return [
    "It stores, fetches and looks up like any other node, and peers that it asks can answer.",
    introducers === 0
      ? "No node introduces others to it yet, so others can't start a conversation with it."
      : `${
        plural(introducers, "node")
      } introduce others to it, so that both sides can open their NATs at the same time.`,
    ...filtering === "address" || filtering === "address_and_port"
      ? ["Its NAT lets in answers only from where it has sent packets."]
      : [],
  ];
}
