"""A libtorrent DHT node for the load benchmark: libtorrent_server.py BOOTSTRAP_HOST BOOTSTRAP_PORT

Raises libtorrent's default limits on the requests per second from one address, and on the bytes sent. Prints
{"port": N} when the node has joined, and runs until it is killed.
"""

import json
import socket
import sys
import time

import libtorrent as lt

router = socket.inet_aton(sys.argv[1]) + int(sys.argv[2]).to_bytes(2, "big")
# The bindings have no other way to set first contacts that enter the routing table.
params = lt.read_session_params({b"dht state": {b"nodes": [router]}}, 0xFFFFFFFF)
params.settings = {
    **params.settings,
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "dht_bootstrap_nodes": "",
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
    "dht_block_ratelimit": 100_000_000,
    "dht_upload_rate_limit": 1_000_000_000,
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.dht_notification,
}
session = lt.session(params)
# Start the DHT when the socket listens. Otherwise, libtorrent would not query the first contacts.
while session.listen_port() == 0:
    time.sleep(0.05)
session.apply_settings({"enable_dht": True})
for _ in range(200):
    if session.status().dht_nodes >= 8:
        break
    time.sleep(0.05)
print(json.dumps({"port": session.listen_port()}), flush=True)
while True:
    time.sleep(3600)
