// All views but the overview. They are loaded together when one of them is first opened: in an executable, they are one
// file, and a file for each of them would also divide what they share into many small files.

export { Events } from "./views/events.js";
export { Lookups } from "./views/lookups.js";
export { MapView } from "./views/map.js";
export { Node } from "./views/node.js";
export { PeerPage } from "./views/peer.js";
export { Peers } from "./views/peers.js";
export { ReachabilityView } from "./views/reachability.js";
export { Search } from "./views/search.js";
export { Swarms } from "./views/swarms.js";
export { LossView } from "./views/loss.js";
export { ThreatsView } from "./views/threats.js";
export { TrafficView } from "./views/traffic.js";
export { ValuePage } from "./views/value.js";
export { Values } from "./views/values.js";
