"""A network of libtorrent DHT nodes in one process: JSON requests on stdin, replies on stdout."""

import hashlib
import json
import os
import queue
import random
import resource
import selectors
import socket
import sys
import threading
import time

import libtorrent as lt

HOST = "127.0.0.1"

# libtorrent waits 15 s for a silent node before a search continues without it.
TIMEOUT_S = 120.0

FIRST_CONTACTS = 8

SETTINGS = {
    "listen_interfaces": f"{HOST}:0",
    # The DHT starts when the socket listens. Otherwise, libtorrent would not query the first contacts.
    "enable_dht": False,
    "dht_bootstrap_nodes": "",
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    # All nodes share one address. The next settings turn off defences against that.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_block_ratelimit": 1_000_000,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_upload_rate_limit": 1_000_000_000,
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.dht_notification
    | lt.alert.category_t.stats_notification,
}

METRICS = {m.name: m.value_index for m in lt.session_stats_metrics()}
QUERIES = [
    f"dht.dht_{query}_out" for query in ("ping", "find_node", "get_peers", "announce_peer", "get", "put")
]


class Node:
    """One session. The thread that reads all sessions' alerts calls `on_alert`."""

    def __init__(self, selector, bootstrap):
        params = lt.read_session_params({b"dht state": {b"nodes": bootstrap}}, 0xFFFFFFFF)
        params.settings = {**params.settings, **SETTINGS}
        self.waiting = []
        self.lock = threading.Lock()
        self.session = lt.session(params)
        # A byte through a pipe reports an alert. The bindings' own function for waiting sometimes crashes the process.
        self.alerts, wake = os.pipe()
        os.set_blocking(wake, False)
        self.session.set_alert_fd(wake)
        selector.register(self.alerts, selectors.EVENT_READ, self)
        while self.session.listen_port() == 0:
            time.sleep(0.005)
        enable = lambda: self.session.apply_settings({"enable_dht": True})
        self.wait(lambda alert: isinstance(alert, lt.dht_bootstrap_alert) or None, enable)

    def compact(self):
        return socket.inet_aton(HOST) + self.session.listen_port().to_bytes(2, "big")

    def on_alerts(self):
        os.read(self.alerts, 4096)
        for alert in self.session.pop_alerts():
            with self.lock:
                for waiter in list(self.waiting):
                    handler, results = waiter
                    result = handler(alert)
                    if result is not None:
                        results.put((result, time.perf_counter()))
                        self.waiting.remove(waiter)

    def wait(self, handler, action):
        """Runs `action`. Returns the first result of `handler` that is not None, and the seconds until then."""
        results = queue.Queue()
        with self.lock:
            self.waiting.append((handler, results))
        start = time.perf_counter()
        action()
        result, end = results.get(timeout=TIMEOUT_S)
        return result, end - start

    def stats(self):
        handler = lambda alert: alert.values if isinstance(alert, lt.session_stats_alert) else None
        return self.wait(handler, self.session.post_session_stats)[0]

    def queries(self):
        stats = self.stats()
        return sum(stats[name] for name in QUERIES)

    def timed(self, handler, action):
        queries = self.queries()
        result, seconds = self.wait(handler, action)
        return {**result, "ms": seconds * 1000, "queries": self.queries() - queries}


class Network:
    def __init__(self):
        self.nodes = []
        self.selector = selectors.DefaultSelector()
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        while True:
            # Wait for a limited time, because nodes may be added meanwhile. An empty selector returns at once.
            for key, _ in self.selector.select(0.05):
                key.data.on_alerts()
            if not self.nodes:
                time.sleep(0.005)

    def start(self, count):
        while len(self.nodes) < count:
            # Use several contacts, like a node in a real swarm: libtorrent only names nodes that it has queried itself.
            known = random.sample(self.nodes, min(len(self.nodes), FIRST_CONTACTS))
            self.nodes.append(Node(self.selector, [node.compact() for node in known]))

    def memory(self):
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    def packets(self):
        return sum(node.stats()["dht.dht_messages_out"] for node in self.nodes)

    def silence(self, nodes):
        # The socket stays open for uTP, and drops the packets for the DHT.
        for i in nodes:
            self.nodes[i].session.apply_settings({"enable_dht": False})

    def lookup(self, node):
        """Searches for an item that no node has. The bindings report the end of no other kind of search."""
        return self.find(node, os.urandom(20), lambda found: {"ok": not found})

    def put(self, node, value):
        data = value.encode()
        key = hashlib.sha1(lt.bencode(data)).hexdigest()
        target = lt.sha1_hash(bytes.fromhex(key))

        def stored(alert):
            if not isinstance(alert, lt.dht_put_alert) or alert.target != target:
                return None
            return {"ok": alert.num_success > 0, "key": key}

        peer = self.nodes[node]
        return peer.timed(stored, lambda: peer.session.dht_put_immutable_item(data))

    def get(self, node, key, value):
        return self.find(node, bytes.fromhex(key), lambda found: {"ok": found == value.encode()})

    def find(self, node, target, judge):
        target = lt.sha1_hash(target)

        def ended(alert):
            if not isinstance(alert, lt.dht_immutable_item_alert) or alert.target != target:
                return None
            try:
                return judge(alert.item["value"])
            except RuntimeError:
                # The bindings raise an error for an empty item, which means that no node had it.
                return judge(None)

        peer = self.nodes[node]
        return peer.timed(ended, lambda: peer.session.dht_get_immutable_item(target))


network = Network()
output_lock = threading.Lock()


def serve(line):
    request = json.loads(line)
    reply = {"id": request.pop("id")}
    try:
        reply["result"] = getattr(network, request.pop("do"))(**request)
    except Exception as error:
        reply["error"] = f"{type(error).__name__}: {error}"
    with output_lock:
        print(json.dumps(reply), flush=True)


for line in sys.stdin:
    # Operations overlap, so each waits in its own thread.
    threading.Thread(target=serve, args=(line,), daemon=True).start()
# Skip the destructors of hundreds of sessions: they are slow, and there is nothing to save.
os._exit(0)
