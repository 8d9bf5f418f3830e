#!/usr/bin/env python3
"""UDP sockets under a test's control: udp.py PORT...

Sends a packet for each JSON line {"at": PORT, "to": [HOST, PORT], "data": TEXT} on stdin. Prints {"ready": true} at the
start, and {"at": PORT, "from": [HOST, PORT], "data": TEXT} for each packet that arrives. Each character of the text is
one byte.
"""
import json
import os
import select
import socket
import sys

sockets = {}
poll = select.epoll()
poll.register(0, select.EPOLLIN)
for port in map(int, sys.argv[1:]):
    s = sockets[port] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    poll.register(s.fileno(), select.EPOLLIN)
print('{"ready": true}', flush=True)
rest = b""
while True:
    for fd, _ in poll.poll():
        if fd == 0:
            data = os.read(0, 65536)
            if not data:
                sys.exit()
            *lines, rest = (rest + data).split(b"\n")
            for line in map(json.loads, lines):
                host, port = line["to"]
                host = host if ":" in host else "::ffff:" + host
                sockets[line["at"]].sendto(line["data"].encode("latin-1"), (host, port))
            continue
        at, s = next((port, s) for port, s in sockets.items() if s.fileno() == fd)
        data, source = s.recvfrom(2048)
        sender = [source[0].removeprefix("::ffff:"), source[1]]
        print(json.dumps({"at": at, "from": sender, "data": data.decode("latin-1")}), flush=True)
