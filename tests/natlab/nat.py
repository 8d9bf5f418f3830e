#!/usr/bin/env python3
"""NATs of every kind in user space, in the terms of RFC 4787, for the laboratory.

Each NAT connects two TUN devices: `inside` in its router's namespace, and `outside` in the Internet's namespace. It
translates UDP over IPv4 and drops everything else. Commands are JSON lines on stdin. Each command gets one line as its
answer on stdout:

  {"do": "add", "name": N, "inside": {"ns": NS, "dev": D}, "outside": {"ns": NS, "dev": D}, "address": A,
   "mapping": "ei|ad|apd", "filtering": "ei|ad|apd", "ports": "preserve|random", "timeout": SECONDS,
   "hairpin": BOOL, "delay": MILLISECONDS}
  {"do": "address", "name": N, "address": A}      new external address: ends all mappings
  {"do": "counts", "name": N}                     {"out": PACKETS, "in": PACKETS, "filtered": PACKETS, "mappings": NOW}

mapping:   which packets of an inside port share an external port: all (endpoint-independent), those to one address
           (address-dependent), or those to one address and port
filtering: who may send to an external port: everyone, addresses that the inside port has sent to, or addresses and
           ports that the inside port has sent to
timeout:   lifetime of a mapping and its filters after a packet from the inside; packets from the outside don't count
"""
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace_fd):
    if libc.setns(namespace_fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def open_tun(namespace, device):
    """Opens a TUN device in another namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/" + namespace, os.O_RDONLY)
    try:
        enter(there)
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        return fd
    finally:
        enter(home)
        os.close(there)
        os.close(home)


def checksum(header):
    total = sum(struct.unpack("!%dH" % (len(header) // 2), header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


class Mapping:
    def __init__(self, inside, port):
        self.inside, self.port, self.until = inside, port, 0.0
        self.sent_to = {}  # expiry by remote address, and by remote address and port


class Nat:
    def __init__(self, given):
        self.inside = open_tun(given["inside"]["ns"], given["inside"]["dev"])
        self.outside = open_tun(given["outside"]["ns"], given["outside"]["dev"])
        self.mapping, self.filtering, self.ports = given["mapping"], given["filtering"], given["ports"]
        self.timeout, self.hairpin = given.get("timeout", 300), given.get("hairpin", False)
        self.delay = given.get("delay", 0) / 1000
        self.counts = {"out": 0, "in": 0, "filtered": 0}
        self.set_address(given["address"])

    def set_address(self, address):
        self.address = socket.inet_aton(address)
        self.by_key, self.by_port = {}, {}

    def sweep(self, now):
        for key, mapping in list(self.by_key.items()):
            if mapping.until <= now:
                del self.by_key[key]
                del self.by_port[mapping.port]

    def key(self, inside, remote):
        return (inside,) + {"ei": (), "ad": (remote[0],), "apd": remote}[self.mapping]

    def new_port(self, wanted):
        if self.ports == "preserve" and wanted not in self.by_port:
            return wanted
        while True:
            port = random.randint(1024, 65535)
            if port not in self.by_port:
                return port

    def outward(self, packet, now):
        """Translates a packet from the inside, and returns it with its destination."""
        inside, remote = packet.source, packet.target
        self.sweep(now)
        key = self.key(inside, remote)
        mapping = self.by_key.get(key)
        if mapping is None:
            mapping = Mapping(inside, self.new_port(inside[1]))
            self.by_key[key] = self.by_port[mapping.port] = mapping
        mapping.until = now + self.timeout
        mapping.sent_to[remote[0]] = mapping.sent_to[remote] = mapping.until
        self.counts["out"] += 1
        packet.source = (self.address, mapping.port)
        if remote[0] != self.address:
            return self.outside
        return self.inward(packet, now) if self.hairpin else None

    def inward(self, packet, now):
        """Translates a packet from the outside."""
        mapping = self.by_port.get(packet.target[1])
        if mapping is None or mapping.until <= now or not self.lets_in(mapping, packet.source, now):
            self.counts["filtered"] += 1
            return None
        self.counts["in"] += 1
        packet.target = mapping.inside
        return self.inside

    def lets_in(self, mapping, remote, now):
        if self.filtering == "ei":
            return True
        return mapping.sent_to.get(remote[0] if self.filtering == "ad" else remote, 0) > now


class Packet:
    """A UDP packet over IPv4, and its addresses."""

    def __init__(self, data):
        self.data, self.head = bytearray(data), (data[0] & 15) * 4
        ports = struct.unpack_from("!HH", data, self.head)
        self.source, self.target = (data[12:16], ports[0]), (data[16:20], ports[1])

    @staticmethod
    def read(data):
        if len(data) < 28 or data[0] >> 4 != 4 or data[9] != 17 or (data[0] & 15) * 4 + 8 > len(data):
            return None
        return None if struct.unpack_from("!H", data, 6)[0] & 0x3FFF else Packet(data)  # fragments

    def written(self):
        data, head = self.data, self.head
        data[12:20] = self.source[0] + self.target[0]
        data[8] = max(1, data[8] - 1)
        data[10:12] = b"\0\0"
        struct.pack_into("!H", data, 10, checksum(data[:head]))
        # There is no UDP checksum. IPv4 permits that, and the kernel accepts it.
        struct.pack_into("!HH", data, head, self.source[1], self.target[1])
        data[head + 6:head + 8] = b"\0\0"
        return bytes(data)


def main():
    nats, by_fd, waiting, order = {}, {}, [], 0
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    commands = b""

    def obey(line):
        given = json.loads(line)
        name, what = given["name"], given["do"]
        if what == "add":
            nat = nats[name] = Nat(given)
            for fd, handle in ((nat.inside, nat.outward), (nat.outside, nat.inward)):
                by_fd[fd] = (nat, handle)
                poll.register(fd, select.EPOLLIN)
        elif what == "address":
            nats[name].set_address(given["address"])
        elif what == "counts":
            nats[name].sweep(time.monotonic())
            return {**nats[name].counts, "mappings": len(nats[name].by_key)}
        else:
            raise ValueError(what)
        return {}

    while True:
        now = time.monotonic()
        for fd, _ in poll.poll(max(0, waiting[0][0] - now) if waiting else None):
            if fd == 0:
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    try:
                        answer = obey(line)
                    except Exception as error:  # report it to the test
                        answer = {"error": repr(error)}
                    print(json.dumps(answer), flush=True)
                continue
            nat, handle = by_fd[fd]
            for _ in range(64):
                try:
                    data = os.read(fd, 2048)
                except BlockingIOError:
                    break
                packet = Packet.read(data)
                now = time.monotonic()
                to = handle(packet, now) if packet else None
                if to is not None:
                    order += 1
                    heapq.heappush(waiting, (now + nat.delay, order, to, packet.written()))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, data = heapq.heappop(waiting)
            try:
                os.write(to, data)
            except OSError:
                pass  # the device is down or its queue is full: the packet is lost


if __name__ == "__main__":
    sys.exit(main())
