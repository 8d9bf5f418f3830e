"""Hosts libtorrent DHT nodes for the interoperability suite: JSON in on stdin, out on stdout."""

import hashlib
import json
import os
import queue
import re
import socket
import sys
import threading

import libtorrent as lt

HOST = "127.0.0.1"

# libtorrent waits 15 s for a silent node before a search continues without it.
OPERATION_TIMEOUT_S = 40.0
START_TIMEOUT_S = 20.0

SETTINGS = {
    # The DHT accepts its first contacts only if the socket is open when the DHT starts. So we
    # start the DHT after the socket listens.
    "enable_dht": False,
    # The default is a public router.
    "dht_bootstrap_nodes": "",
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "allow_multiple_connections_per_ip": True,
    # All nodes share one address. The next settings turn off defences against that.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_block_ratelimit": 1_000_000,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    # Bytes a second. Above the default of 8,000, libtorrent drops queries without an answer.
    "dht_upload_rate_limit": 10_000_000,
    # Buckets of 8 instead of up to 128 get full in a small network. libtorrent pings only the
    # contacts of a full bucket.
    "dht_extended_routing_table": False,
    "alert_queue_size": 100_000,
    # The packet log belongs to dht_log.
    "alert_mask": lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.dht_notification
    | lt.alert.category_t.dht_operation_notification
    | lt.alert.category_t.dht_log_notification,
}


def parse_address(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def format_address(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def compact(addresses, family):
    """The addresses of one family, as libtorrent stores them."""
    parsed = [parse_address(address) for address in addresses]
    return [
        socket.inet_pton(family, host) + port.to_bytes(2, "big")
        for host, port in parsed
        if (":" in host) == (family == socket.AF_INET6)
    ]


def expanded_key(seed):
    """The 64-byte form of an Ed25519 private key (RFC 8032, 5.1.5), which libtorrent signs with."""
    key = bytearray(hashlib.sha512(seed).digest())
    key[0] &= 248
    key[31] &= 63
    key[31] |= 64
    return bytes(key)


class Node:
    """One session. A separate thread reads its alerts."""

    def __init__(self, number, hosts, port, bootstrap, options):
        self.number = number
        self.lock = threading.Lock()
        self.waiting = []
        self.stopped = False
        self.asked = {}
        self.traffic = {}
        self.errors = []

        # The bindings have no other way to set the first contacts. The documented way, routers,
        # never enters the routing table.
        state = {
            b"nodes": compact(bootstrap, socket.AF_INET),
            b"nodes6": compact(bootstrap, socket.AF_INET6),
        }
        params = lt.read_session_params({b"dht state": state}, 0xFFFFFFFF)
        settings = params.settings
        settings.update(SETTINGS)
        settings["dht_read_only"] = options.get("read_only", False)
        if "block_ratelimit" in options:
            settings["dht_block_ratelimit"] = options["block_ratelimit"]
        settings["listen_interfaces"] = ",".join(format_address(host, port) for host in hosts)
        params.settings = settings
        self.session = lt.session(params)
        # wait_for_alert() of the bindings reads an alert that the session's thread may be moving
        # in memory, which sometimes crashes the process. A byte through a pipe is safe.
        self.alerts, self.wake = os.pipe()
        os.set_blocking(self.wake, False)
        self.session.set_alert_fd(self.wake)
        self.thread = threading.Thread(target=self.pump, daemon=True)

        listening_on = []

        def listening(alert):
            if isinstance(alert, lt.listen_failed_alert):
                return alert.message()
            if isinstance(alert, lt.listen_succeeded_alert):
                # libtorrent opens and reports TCP sockets whatever the settings are.
                if alert.socket_type == lt.socket_type_t.utp:
                    listening_on.append(format_address(alert.address, alert.port))
            return True if len(listening_on) == len(hosts) else None

        def bootstrapped(alert):
            return True if isinstance(alert, lt.dht_bootstrap_alert) else None

        outcome = self.wait(listening, self.thread.start, START_TIMEOUT_S)
        if outcome is not True:
            raise RuntimeError(outcome)
        self.wait(
            bootstrapped,
            lambda: self.session.apply_settings({"enable_dht": True}),
            START_TIMEOUT_S,
        )
        # libtorrent runs a separate DHT node on every socket.
        self.nodes = []
        for entry in self.session.save_state()[b"dht state"][b"node-id"]:
            node_id, host = entry[:20], entry[20:]
            family = socket.AF_INET if len(host) == 4 else socket.AF_INET6
            host = socket.inet_ntop(family, host)
            address = next(a for a in listening_on if parse_address(a)[0] == host)
            self.nodes.append({"nodeId": node_id.hex(), "address": address})
        self.nodes.sort(key=lambda node: hosts.index(parse_address(node["address"])[0]))

    def pump(self):
        while not self.stopped:
            os.read(self.alerts, 4096)
            for alert in self.session.pop_alerts():
                if isinstance(alert, lt.dht_pkt_alert):
                    self.count(alert)
                with self.lock:
                    for waiter in list(self.waiting):
                        handler, results = waiter
                        result = handler(alert)
                        if result is not None:
                            results.put(result)
                            self.waiting.remove(waiter)

    def wait(self, handler, action, timeout=OPERATION_TIMEOUT_S):
        """Runs `action`, then returns the first result of `handler(alert)` that is not None."""
        results = queue.Queue()
        waiter = (handler, results)
        with self.lock:
            self.waiting.append(waiter)
        try:
            action()
            return results.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"libtorrent reported nothing within {timeout} s") from None
        finally:
            with self.lock:
                if waiter in self.waiting:
                    self.waiting.remove(waiter)

    def count(self, alert):
        # "<== [127.0.0.1:6881] {...}": the bindings give direction and address only as text.
        direction, address = re.match(r"(\S+) \[(.+?)\] ", alert.message()).groups()
        incoming = direction == "<=="
        message = lt.bdecode(alert.pkt_buf)
        if not isinstance(message, dict) or b"y" not in message or b"t" not in message:
            return
        kind = message[b"y"]
        transaction = (address, message[b"t"])
        if kind == b"q":
            query = message[b"q"].decode("latin-1")
            if incoming:
                self.add("received", query, address)
            else:
                self.asked[transaction] = query
                self.add("sent", query, address)
        elif incoming and transaction in self.asked:
            query = self.asked.pop(transaction)
            self.add("answered" if kind == b"r" else "refused", query, address)
            if kind == b"e":
                code, text = message[b"e"]
                self.errors.append([query, address, code, text.decode("latin-1")])

    def add(self, what, query, address):
        key = (what, query, address)
        self.traffic[key] = self.traffic.get(key, 0) + 1

    def describe(self):
        return {"node": self.number, **self.nodes[0], "all": self.nodes}

    def stop(self):
        self.stopped = True
        os.write(self.wake, b"x")
        self.thread.join()
        # The session's destructor waits for its threads, which may still write to the pipe.
        del self.session
        os.close(self.alerts)
        os.close(self.wake)


nodes = {}
next_node = 0
nodes_lock = threading.Lock()


def node_of(request):
    number = request.get("node", 0)
    if number not in nodes:
        raise KeyError(f"no node {number}")
    return nodes[number]


def start(request):
    global next_node
    ports = request.get("ports", [])
    started = []
    for i in range(request.get("count", 1)):
        with nodes_lock:
            number = next_node
            next_node += 1
        port = ports[i] if i < len(ports) else 0
        hosts = request.get("hosts", [HOST])
        bootstrap = request.get("bootstrap", [])
        node = Node(number, hosts, port, bootstrap, request)
        nodes[number] = node
        started.append(node.describe())
    return {"nodes": started}


def stop(request):
    stopping = [request["node"]] if "node" in request else list(nodes)
    for number in stopping:
        nodes.pop(number).stop()
    return {}


def describe_nodes(_request):
    return {"nodes": [node.describe() for node in nodes.values()]}


def contact(request):
    """Makes libtorrent query an address: with get_peers, or with ping if the bucket is full."""
    node = node_of(request)
    address = request["address"]

    def replied(alert):
        if not isinstance(alert, lt.dht_pkt_alert):
            return None
        if not alert.message().startswith(f"<== [{address}]"):
            return None
        message = lt.bdecode(alert.pkt_buf)
        return message[b"r"][b"id"].hex() if message.get(b"y") == b"r" else None

    node_id = node.wait(replied, lambda: node.session.add_dht_node(parse_address(address)))
    return {"nodeId": node_id}


def sample_infohashes(request):
    node = node_of(request)
    target = lt.sha1_hash(bytes.fromhex(request["target"]))
    endpoint = parse_address(request["address"])

    def sampled(alert):
        if not isinstance(alert, lt.dht_sample_infohashes_alert):
            return None
        if tuple(alert.endpoint) != endpoint:
            return None
        return {
            "num": alert.num_infohashes,
            "interval": alert.interval.total_seconds(),
            "samples": [sample.to_bytes().hex() for sample in alert.samples],
            "nodes": [entry["nid"].to_bytes().hex() for entry in alert.nodes],
        }

    return node.wait(sampled, lambda: node.session.dht_sample_infohashes(endpoint, target))


def announce(request):
    """Announces the node's own UDP port, with `implied_port`.

    The bindings of 2.0.8 lack the flags type that dht_announce() asks for. A torrent is announced
    by itself as soon as it is added, on whatever port the session listens on.
    """
    node = node_of(request)
    info_hash = bytes.fromhex(request["info_hash"])
    announced = set()
    torrents = []

    # libtorrent has no alert for an accepted announcement.
    def accepted(alert):
        if not isinstance(alert, lt.dht_pkt_alert):
            return None
        message = lt.bdecode(alert.pkt_buf)
        incoming = alert.message().startswith("<==")
        if not incoming and message.get(b"q") == b"announce_peer":
            if message[b"a"][b"info_hash"] == info_hash:
                announced.add(message[b"t"])
        elif incoming and message.get(b"y") == b"r" and message.get(b"t") in announced:
            return True
        return None

    def add_torrent():
        params = lt.add_torrent_params()
        params.info_hashes = lt.info_hash_t(lt.sha1_hash(info_hash))
        # libtorrent never writes to this directory, because the torrent's metadata stays unknown.
        params.save_path = "."
        # By default, the torrent would wait in a queue.
        params.flags = lt.torrent_flags.upload_mode
        torrents.append(node.session.add_torrent(params))

    try:
        node.wait(accepted, add_torrent)
    finally:
        for torrent in torrents:
            node.session.remove_torrent(torrent)
    return {"port": parse_address(node.nodes[0]["address"])[1]}


def get_peers(request):
    """The first addresses that a search finds. Empty if no node returned any in time."""
    node = node_of(request)
    info_hash = lt.sha1_hash(bytes.fromhex(request["info_hash"]))

    def replied(alert):
        if not isinstance(alert, lt.dht_get_peers_reply_alert) or alert.info_hash != info_hash:
            return None
        found = [format_address(*peer) for peer in alert.peers()]
        return found or None

    try:
        peers = node.wait(
            replied,
            lambda: node.session.dht_get_peers(info_hash),
            request.get("timeout_s", OPERATION_TIMEOUT_S),
        )
    except TimeoutError:
        peers = []
    return {"peers": peers}


def put_immutable(request):
    node = node_of(request)
    # `json`: a list or dictionary instead of a string.
    value = request["json"] if "json" in request else bytes.fromhex(request["value"])
    # The target that libtorrent itself computes for the value.
    target = lt.sha1_hash(hashlib.sha1(lt.bencode(value)).digest())

    def stored(alert):
        if not isinstance(alert, lt.dht_put_alert) or alert.target != target:
            return None
        return {"hash": target.to_bytes().hex(), "acknowledged": alert.num_success}

    return node.wait(stored, lambda: node.session.dht_put_immutable_item(value))


def put_mutable(request):
    """libtorrent looks up the stored version and signs the next one. The reply has its seq."""
    node = node_of(request)
    public_key = bytes.fromhex(request["public_key"])
    private_key = expanded_key(bytes.fromhex(request["seed"]))
    salt = bytes.fromhex(request.get("salt") or "")
    value = bytes.fromhex(request["value"])

    def stored(alert):
        if not isinstance(alert, lt.dht_put_alert) or bytes(alert.public_key) != public_key:
            return None
        if to_bytes(alert.salt) != salt:
            return None
        return {
            "hash": hashlib.sha1(public_key + salt).hexdigest(),
            "acknowledged": alert.num_success,
            "publicKey": public_key.hex(),
            "seq": alert.seq,
        }

    return node.wait(
        stored,
        lambda: node.session.dht_put_mutable_item(private_key, public_key, value, salt),
    )


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def get_immutable(request):
    node = node_of(request)
    target = lt.sha1_hash(bytes.fromhex(request["hash"]))

    def found(alert):
        if not isinstance(alert, lt.dht_immutable_item_alert) or alert.target != target:
            return None
        return item(alert)

    return node.wait(found, lambda: node.session.dht_get_immutable_item(target))


def get_mutable(request):
    node = node_of(request)
    public_key = bytes.fromhex(request["public_key"])
    salt = bytes.fromhex(request.get("salt") or "")

    def found(alert):
        if not isinstance(alert, lt.dht_mutable_item_alert) or bytes(alert.key) != public_key:
            return None
        if to_bytes(alert.salt) != salt or not alert.authoritative:
            return None
        result = item(alert)
        if result["found"]:
            result.update(seq=alert.seq, publicKey=public_key.hex())
            result.update(signature=bytes(alert.signature).hex())
        return result

    return node.wait(found, lambda: node.session.dht_get_mutable_item(public_key, salt))


def item(alert):
    try:
        return {"found": True, "value": alert.item["value"].hex()}
    except RuntimeError:
        # The bindings raise an error for an empty item, which means that no node had it.
        return {"found": False}


def table(request):
    node = node_of(request)
    contacts = []
    for own in node.nodes:
        node_id = lt.sha1_hash(bytes.fromhex(own["nodeId"]))

        def listed(alert):
            if not isinstance(alert, lt.dht_live_nodes_alert) or alert.node_id != node_id:
                return None
            return [
                {
                    "nodeId": entry["nid"].to_bytes().hex(),
                    "address": format_address(*entry["endpoint"]),
                }
                for entry in alert.nodes
            ]

        contacts += node.wait(listed, lambda: node.session.dht_live_nodes(node_id))
    return {"size": len(contacts), "nodes": contacts}


def traffic(request):
    """Counts of messages by outcome and query, for the given addresses or for all."""
    node = node_of(request)
    addresses = request.get("addresses")
    totals = {"sent": {}, "answered": {}, "refused": {}, "received": {}}
    for (what, query, address), count in list(node.traffic.items()):
        if addresses is None or address in addresses:
            totals[what][query] = totals[what].get(query, 0) + count
    errors = [e for e in node.errors if addresses is None or e[1] in addresses]
    return {**totals, "errors": errors}


COMMANDS = {
    "start": start,
    "stop": stop,
    "nodes": describe_nodes,
    "contact": contact,
    "sample_infohashes": sample_infohashes,
    "announce": announce,
    "get_peers": get_peers,
    "put_immutable": put_immutable,
    "put_mutable": put_mutable,
    "get_immutable": get_immutable,
    "get_mutable": get_mutable,
    "table": table,
    "traffic": traffic,
}

output_lock = threading.Lock()


def serve(line):
    request = json.loads(line)
    try:
        command = COMMANDS.get(request["cmd"])
        if command is None:
            raise ValueError(f"unknown command {request['cmd']}")
        reply = {"ok": True, **command(request)}
    except Exception as error:
        reply = {"ok": False, "error": f"{type(error).__name__}: {error}", "code": None}
    with output_lock:
        print(json.dumps({"id": request["id"], **reply}), flush=True)


def main():
    for line in sys.stdin:
        # Operations overlap, so each waits in a thread of its own.
        threading.Thread(target=serve, args=(line,), daemon=True).start()
    # The test that started this process has ended. Sessions stop in their destructors.
    for node in list(nodes.values()):
        node.stop()


if __name__ == "__main__":
    main()
