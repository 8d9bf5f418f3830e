// Closed-loop load generator for KRPC servers on loopback, and for those of dht-rpc 6: keeps W
// queries in flight, and prints one JSON line about the replies.
//
// One UDP socket sends from many source addresses (127.1.0.1 and up, chosen per datagram with
// IP_PKTINFO). A server's limits per address then see many strangers, but the kernel still sends
// and receives in batches.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

enum {
  BATCH = 64,             // datagrams a system call
  RX_BYTES = 4096,        // longer replies are cut and count as bad
  TX_BYTES = 384,         // the longest query is 340 bytes
  PADDING_BYTES = 200,    // of a get: dmnode answers strangers with at most three times the bytes of the query
  MAX_WINDOW = 4096,
  MAX_RPC_WINDOW = 256,   // a transaction id of dht-rpc has two bytes, slot and generation
  MAX_SOURCES = 65000,    // 127.1.0.1 to 127.1.253.232
  MAX_DEPTH = 8,
  MAX_LATENCY_US = 200000 // the last bucket holds everything slower
};

typedef struct {
  uint64_t sent_ns;
  uint32_t source;
  uint16_t generation; // tells a late reply from the reply to the slot's present query
  bool live;
} slot_t;

typedef struct {
  const uint8_t *at;
  size_t length;
} bytes_t;

typedef struct {
  bytes_t t, y, id, nodes;
  unsigned values; // entries of r.values, or 1 for r.v
  bool nodes_ok, has_id, has_token;
} message_t;

typedef struct {
  uint8_t bytes[TX_BYTES];
  size_t length, id_at, target_at, t_at;
} template_t;

static slot_t slots[MAX_WINDOW];
static uint8_t (*source_ids)[20];
static uint32_t latency_us[MAX_LATENCY_US + 1];
static uint64_t sent, answered, timeouts, bad, late, server_queries;
static uint64_t reply_bytes, reply_nodes, reply_values, reply_tokens;

// ---- clock and random numbers ----

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// The processor time of this process. If it is close to a whole core, the generator itself is the bottleneck.
static double cpu_seconds(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static uint64_t rng_state;

static uint64_t rng(void) { // splitmix64
  uint64_t z = (rng_state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void random_id(uint8_t *id) {
  uint64_t words[3] = {rng(), rng(), rng()};
  memcpy(id, words, 20);
}

// ---- bencode: strict, bounded; each function returns the end of the bytes that it read, or NULL ----

static const uint8_t *read_string(const uint8_t *p, const uint8_t *end, bytes_t *out) {
  size_t length = 0;
  int digits = 0;
  if (p < end && *p == '0' && p + 1 < end && p[1] != ':') return NULL;
  while (p < end && *p >= '0' && *p <= '9') {
    if (++digits > 5) return NULL;
    length = length * 10 + (size_t)(*p++ - '0');
  }
  if (digits == 0 || p >= end || *p++ != ':' || (size_t)(end - p) < length) return NULL;
  out->at = p;
  out->length = length;
  return p + length;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, int depth) {
  bytes_t ignored;
  if (p >= end || depth > MAX_DEPTH) return NULL;
  if (*p == 'i') {
    p++;
    if (p < end && *p == '-') p++;
    const uint8_t *digits = p;
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p > digits && p < end && *p == 'e' ? p + 1 : NULL;
  }
  if (*p == 'l' || *p == 'd') {
    bool dictionary = *p++ == 'd';
    while (p < end && *p != 'e') {
      if (dictionary && !(p = read_string(p, end, &ignored))) return NULL;
      if (!(p = skip_value(p, end, depth + 1))) return NULL;
    }
    return p < end ? p + 1 : NULL;
  }
  return read_string(p, end, &ignored);
}

static bool key_is(const bytes_t *key, const char *name) {
  size_t length = strlen(name);
  return key->length == length && memcmp(key->at, name, length) == 0;
}

// The keys that are read from the body of a query (`a`) or a reply (`r`).
static const uint8_t *read_body(const uint8_t *p, const uint8_t *end, message_t *m) {
  bytes_t key;
  if (p >= end || *p++ != 'd') return NULL;
  while (p < end && *p != 'e') {
    if (!(p = read_string(p, end, &key))) return NULL;
    if (key_is(&key, "id")) {
      if (!(p = read_string(p, end, &m->id))) return NULL;
      m->has_id = m->id.length == 20;
    } else if (key_is(&key, "nodes")) {
      if (!(p = read_string(p, end, &m->nodes))) return NULL;
      m->nodes_ok = m->nodes.length % 26 == 0;
    } else if (key_is(&key, "values") && p < end && *p == 'l') {
      for (p++; p < end && *p != 'e'; m->values++) {
        if (!(p = skip_value(p, end, 3))) return NULL;
      }
      if (p >= end) return NULL;
      p++;
    } else {
      if (key_is(&key, "v")) m->values = 1;
      if (key_is(&key, "token")) m->has_token = true;
      if (!(p = skip_value(p, end, 2))) return NULL;
    }
  }
  return p < end ? p + 1 : NULL;
}

static bool read_message(const uint8_t *p, size_t length, message_t *m) {
  const uint8_t *end = p + length;
  bytes_t key;
  memset(m, 0, sizeof *m);
  m->nodes_ok = true;
  if (p >= end || *p++ != 'd') return false;
  while (p < end && *p != 'e') {
    if (!(p = read_string(p, end, &key))) return false;
    if (key_is(&key, "t")) p = read_string(p, end, &m->t);
    else if (key_is(&key, "y")) p = read_string(p, end, &m->y);
    else if (key_is(&key, "r") || key_is(&key, "a")) p = read_body(p, end, m);
    else p = skip_value(p, end, 1);
    if (!p) return false;
  }
  return p + 1 == end && m->y.length == 1;
}

// ---- queries ----

static void append(template_t *q, const char *text) {
  size_t length = strlen(text);
  memcpy(q->bytes + q->length, text, length);
  q->length += length;
}

static size_t append_gap(template_t *q, size_t length) {
  size_t at = q->length;
  q->length += length;
  return at;
}

static bool build_template(template_t *q, const char *type, bool read_only) {
  const char *target_key = NULL;
  if (strcmp(type, "find_node") == 0 || strcmp(type, "get") == 0) target_key = "6:target20:";
  else if (strcmp(type, "get_peers") == 0) target_key = "9:info_hash20:";
  else if (strcmp(type, "ping") != 0) return false;
  char name[40];
  snprintf(name, sizeof name, "e1:q%zu:%s", strlen(type), type);
  memset(q, 0, sizeof *q);
  append(q, "d1:ad2:id20:");
  q->id_at = append_gap(q, 20);
  // The key after id is info_hash for "get_peers", and target for all other queries.
  if (target_key) {
    append(q, target_key);
    q->target_at = append_gap(q, 20);
  }
  if (strcmp(type, "get") == 0) {
    append(q, "1:z200:");
    append_gap(q, PADDING_BYTES);
  }
  append(q, name);
  if (read_only) append(q, "2:roi1e");
  append(q, "1:t4:");
  q->t_at = append_gap(q, 4);
  append(q, "1:v4:LT\x02\x0b" "1:y1:qe");
  return true;
}

// ---- dht-rpc: type and version (one byte), flags, transaction id, the receiver's address, then the fields that the flags name ----

enum { RPC_REQUEST = 0x03, RPC_REPLY = 0x13, RPC_TID_AT = 2, RPC_HEAD = 10, RPC_ID = 32, RPC_NODE = 6 };
enum { RPC_HAS_ID = 1, RPC_HAS_TOKEN = 2, RPC_INTERNAL = 4, RPC_HAS_TARGET = 8 };        // of a request
enum { RPC_HAS_NODES = 4, RPC_HAS_ERROR = 8, RPC_HAS_VALUE = 16 };                       // of a reply
enum { RPC_PING = 0, RPC_FIND_NODE = 2 };

static bool build_rpc_template(template_t *q, const char *type, const struct sockaddr_in *to) {
  bool is_ping = strcmp(type, "ping") == 0;
  if (!is_ping && strcmp(type, "find_node") != 0) return false;
  memset(q, 0, sizeof *q);
  q->bytes[0] = RPC_REQUEST;
  q->bytes[1] = is_ping ? RPC_INTERNAL : RPC_INTERNAL | RPC_HAS_TARGET;
  memcpy(q->bytes + 4, &to->sin_addr, 4);
  uint16_t port = ntohs(to->sin_port);
  q->bytes[8] = (uint8_t)port, q->bytes[9] = (uint8_t)(port >> 8);
  q->bytes[RPC_HEAD] = is_ping ? RPC_PING : RPC_FIND_NODE;
  q->length = RPC_HEAD + 1;
  q->t_at = RPC_TID_AT;
  if (!is_ping) q->target_at = append_gap(q, RPC_ID);
  return true;
}

// Whether a datagram is a complete reply without an error.
static bool read_rpc_reply(const uint8_t *p, size_t length, message_t *m) {
  memset(m, 0, sizeof *m);
  if (length < RPC_HEAD || p[0] != RPC_REPLY || p[1] & (RPC_HAS_ERROR | RPC_HAS_VALUE)) return false;
  size_t at = RPC_HEAD;
  m->t = (bytes_t){p + RPC_TID_AT, 2};
  m->has_id = p[1] & RPC_HAS_ID;
  m->has_token = p[1] & RPC_HAS_TOKEN;
  at += (m->has_id ? RPC_ID : 0) + (m->has_token ? RPC_ID : 0);
  if (p[1] & RPC_HAS_NODES) {
    if (at >= length || p[at] > 0xfc) return false; // the count; more than 252 would take more bytes
    m->nodes = (bytes_t){p + at + 1, (size_t)p[at] * RPC_NODE};
    at += 1 + m->nodes.length;
  }
  return at == length;
}

// ---- the socket: batches of datagrams, each with its own source address ----

typedef union {
  char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
  struct cmsghdr align;
} control_t;

static struct mmsghdr tx[BATCH], rx[BATCH];
static struct iovec tx_io[BATCH], rx_io[BATCH];
static control_t tx_control[BATCH], rx_control[BATCH];
static uint8_t tx_bytes[BATCH][TX_BYTES], rx_bytes[BATCH][RX_BYTES];
static struct sockaddr_in server, rx_from[BATCH];
static unsigned tx_count;
static int sock;

static uint32_t source_address(uint32_t source) { return 0x7f010001u + source; }

static void set_up_batches(void) {
  for (int i = 0; i < BATCH; i++) {
    tx_io[i].iov_base = tx_bytes[i];
    tx[i].msg_hdr = (struct msghdr){.msg_name = &server,
                                    .msg_namelen = sizeof server,
                                    .msg_iov = &tx_io[i],
                                    .msg_iovlen = 1,
                                    .msg_control = &tx_control[i],
                                    .msg_controllen = sizeof tx_control[i]};
    struct cmsghdr *c = CMSG_FIRSTHDR(&tx[i].msg_hdr);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    rx_io[i] = (struct iovec){rx_bytes[i], RX_BYTES};
  }
}

static void flush_sends(void) {
  unsigned done = 0;
  while (done < tx_count) {
    int n = sendmmsg(sock, tx + done, tx_count - done, 0);
    if (n > 0) done += (unsigned)n;
    else if (errno != EINTR && errno != ECONNREFUSED) {
      perror("sendmmsg");
      exit(1);
    }
  }
  tx_count = 0;
}

// Reserves the next datagram of the batch for the given source address.
static uint8_t *next_send(uint32_t source, size_t length) {
  if (tx_count == BATCH) flush_sends();
  struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(source_address(source))};
  memcpy(CMSG_DATA(CMSG_FIRSTHDR(&tx[tx_count].msg_hdr)), &info, sizeof info);
  tx_io[tx_count].iov_len = length;
  return tx_bytes[tx_count++];
}

static int receive_batch(void) {
  for (int i = 0; i < BATCH; i++) {
    rx[i].msg_hdr = (struct msghdr){.msg_name = &rx_from[i],
                                    .msg_namelen = sizeof rx_from[i],
                                    .msg_iov = &rx_io[i],
                                    .msg_iovlen = 1,
                                    .msg_control = &rx_control[i],
                                    .msg_controllen = sizeof rx_control[i]};
  }
  return recvmmsg(sock, rx, BATCH, MSG_WAITFORONE, NULL);
}

static uint32_t received_at_source(const struct msghdr *header) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR((struct msghdr *)header, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      return ntohl(info.ipi_addr.s_addr) - source_address(0);
    }
  }
  return UINT32_MAX;
}

// ---- the loop ----

static struct {
  const char *query, *host;
  unsigned port, window, sources, timeout_ms;
  double seconds, warmup;
  bool read_only, echo, rpc, has_target;
  uint8_t target[20];
} options = {.query = "find_node",
             .host = "127.0.0.1",
             .window = 32,
             .sources = 256,
             .timeout_ms = 1000,
             .seconds = 2,
             .warmup = 0.5};

static template_t query;
static uint32_t next_source;

static void ask(uint16_t slot, uint64_t now) {
  slot_t *s = &slots[slot];
  s->source = next_source;
  next_source = (next_source + 1) % options.sources;
  s->generation++;
  s->live = true;
  s->sent_ns = now;
  uint8_t *out = next_send(s->source, query.length);
  memcpy(out, query.bytes, query.length);
  if (query.id_at) memcpy(out + query.id_at, source_ids[s->source], 20);
  if (query.target_at) {
    if (options.has_target) memcpy(out + query.target_at, options.target, 20);
    else random_id(out + query.target_at); // of dht-rpc's 32 bytes the last 12 stay zero
  }
  if (options.rpc) {
    s->generation &= 0xff;
    out[query.t_at] = (uint8_t)slot, out[query.t_at + 1] = (uint8_t)s->generation;
  } else {
    memcpy(out + query.t_at, &slot, 2);
    memcpy(out + query.t_at + 2, &s->generation, 2);
  }
  sent++;
}

// A node pings strangers before it adds them to its table. We answer, like a real node.
static void answer(const message_t *m, uint32_t source) {
  server_queries++;
  if (m->t.length > 32 || source >= options.sources) return;
  uint8_t *out = next_send(source, 0);
  uint8_t *p = out;
  memcpy(p, "d1:rd2:id20:", 12), p += 12;
  memcpy(p, source_ids[source], 20), p += 20;
  memcpy(p, "5:nodes0:e1:t", 13), p += 13;
  p += sprintf((char *)p, "%zu:", m->t.length);
  memcpy(p, m->t.at, m->t.length), p += m->t.length;
  memcpy(p, "1:y1:re", 7), p += 7;
  tx_io[tx_count - 1].iov_len = (size_t)(p - out);
}

// Finds the query that a KRPC message answers. Returns false if the message is not a reply.
static bool is_reply(const message_t *m, uint16_t *slot, uint16_t *generation) {
  if (m->t.length != 4 || m->y.at[0] != (options.echo ? 'q' : 'r') || !m->has_id || !m->nodes_ok) {
    return false;
  }
  memcpy(slot, m->t.at, 2);
  memcpy(generation, m->t.at + 2, 2);
  return true;
}

static void take(int i, uint64_t now) {
  const struct msghdr *header = &rx[i].msg_hdr;
  size_t length = rx[i].msg_len;
  uint32_t source = received_at_source(header);
  uint16_t slot = UINT16_MAX, generation = 0;
  message_t m;
  if (rx_from[i].sin_addr.s_addr != server.sin_addr.s_addr || rx_from[i].sin_port != server.sin_port ||
      (header->msg_flags & MSG_TRUNC)) {
    bad++;
    return;
  }
  if (options.rpc) {
    if (read_rpc_reply(rx_bytes[i], length, &m)) slot = m.t.at[0], generation = m.t.at[1];
  } else if (read_message(rx_bytes[i], length, &m)) {
    if (m.y.at[0] == 'q' && !options.echo) {
      answer(&m, source);
      return;
    }
    if (!is_reply(&m, &slot, &generation)) slot = UINT16_MAX;
  }
  if (slot >= options.window) {
    bad++;
    return;
  }
  slot_t *s = &slots[slot];
  if (!s->live || s->generation != generation || s->source != source) {
    late++;
    return;
  }
  uint64_t us = (now - s->sent_ns) / 1000;
  latency_us[us < MAX_LATENCY_US ? us : MAX_LATENCY_US]++;
  answered++;
  reply_bytes += length;
  reply_nodes += m.nodes.length / (options.rpc ? RPC_NODE : 26);
  reply_values += m.values;
  reply_tokens += m.has_token;
  ask(slot, now);
}

static void run_until(uint64_t end) {
  uint64_t timeout_ns = (uint64_t)options.timeout_ms * 1000000u;
  uint64_t next_scan = now_ns() + timeout_ns / 4;
  for (;;) {
    int n = receive_batch();
    uint64_t now = now_ns();
    for (int i = 0; i < n; i++) take(i, now);
    if (now >= next_scan) {
      for (unsigned i = 0; i < options.window; i++) {
        if (slots[i].live && now - slots[i].sent_ns >= timeout_ns) {
          timeouts++;
          ask((uint16_t)i, now);
        }
      }
      next_scan = now + timeout_ns / 4;
    }
    flush_sends();
    if (now >= end) return;
  }
}

static uint64_t percentile(double share) {
  uint64_t rank = (uint64_t)(share * (double)answered), seen = 0;
  for (uint64_t us = 0; us <= MAX_LATENCY_US; us++) {
    seen += latency_us[us];
    if (seen > rank) return us;
  }
  return 0;
}

// ---- command line ----

static void usage(void) {
  fputs("usage: krpc_load --port N [--query ping|find_node|get_peers|get] [--target HEX40]\n"
        "         [--host 127.0.0.1] [--window 32] [--sources 256] [--seconds 2] [--warmup 0.5]\n"
        "         [--timeout-ms 1000] [--seed 1] [--ro] [--echo] [--dht-rpc]\n"
        "  --target  use this target for all queries (default: random targets)\n"
        "  --ro      mark the queries read-only (BEP 43)\n"
        "  --echo    the server returns the queries themselves\n"
        "  --dht-rpc the server speaks dht-rpc 6: ping and find_node, at most 256 in flight\n",
        stderr);
  exit(2);
}

static void parse_target(const char *hex) {
  if (strlen(hex) != 40) usage();
  for (int i = 0; i < 20; i++) {
    unsigned byte;
    if (sscanf(hex + 2 * i, "%2x", &byte) != 1) usage();
    options.target[i] = (uint8_t)byte;
  }
  options.has_target = true;
}

static void parse_options(int argc, char **argv) {
  rng_state = 1;
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--ro") == 0) options.read_only = true;
    else if (strcmp(name, "--echo") == 0) options.echo = true;
    else if (strcmp(name, "--dht-rpc") == 0) options.rpc = true;
    else {
      const char *value = i + 1 < argc ? argv[++i] : NULL;
      if (!value) usage();
      if (strcmp(name, "--port") == 0) options.port = (unsigned)atoi(value);
      else if (strcmp(name, "--query") == 0) options.query = value;
      else if (strcmp(name, "--target") == 0) parse_target(value);
      else if (strcmp(name, "--host") == 0) options.host = value;
      else if (strcmp(name, "--window") == 0) options.window = (unsigned)atoi(value);
      else if (strcmp(name, "--sources") == 0) options.sources = (unsigned)atoi(value);
      else if (strcmp(name, "--seconds") == 0) options.seconds = atof(value);
      else if (strcmp(name, "--warmup") == 0) options.warmup = atof(value);
      else if (strcmp(name, "--timeout-ms") == 0) options.timeout_ms = (unsigned)atoi(value);
      else if (strcmp(name, "--seed") == 0) rng_state = strtoull(value, NULL, 10);
      else usage();
    }
  }
  server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
  if (inet_pton(AF_INET, options.host, &server.sin_addr) != 1 ||
      ntohl(server.sin_addr.s_addr) >> 24 != 127) {
    fputs("krpc_load: --host must be a loopback address\n", stderr);
    exit(2);
  }
  if (options.port < 1 || options.port > 65535 || options.window < 1 ||
      options.window > (options.rpc ? MAX_RPC_WINDOW : MAX_WINDOW) || options.sources < 1 || options.sources > MAX_SOURCES ||
      options.timeout_ms < 1 || options.seconds <= 0) {
    usage();
  }
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  bool built = options.rpc ? build_rpc_template(&query, options.query, &server)
                           : build_template(&query, options.query, options.read_only);
  if (!built) usage();
  source_ids = malloc(options.sources * sizeof *source_ids);
  if (!source_ids) return 1;
  for (unsigned i = 0; i < options.sources; i++) random_id(source_ids[i]);
  set_up_batches();

  sock = socket(AF_INET, SOCK_DGRAM, 0);
  int on = 1, room = 4 << 20;
  struct timeval wake = {.tv_usec = 20000}; // so that time-outs are seen while nothing arrives
  struct sockaddr_in any = {.sin_family = AF_INET};
  setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (sock < 0 || setsockopt(sock, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0 ||
      setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wake, sizeof wake) != 0 ||
      bind(sock, (struct sockaddr *)&any, sizeof any) != 0) {
    perror("krpc_load");
    return 1;
  }

  uint64_t start = now_ns();
  for (unsigned i = 0; i < options.window; i++) ask((uint16_t)i, start);
  flush_sends();
  run_until(start + (uint64_t)(options.warmup * 1e9));

  sent = answered = timeouts = bad = late = server_queries = 0;
  reply_bytes = reply_nodes = reply_values = reply_tokens = 0;
  memset(latency_us, 0, sizeof latency_us);
  double cpu = cpu_seconds();
  uint64_t begin = now_ns();
  run_until(begin + (uint64_t)(options.seconds * 1e9));
  double seconds = (double)(now_ns() - begin) / 1e9;
  cpu = (cpu_seconds() - cpu) / seconds;

  double n = answered ? (double)answered : 1;
  printf("{\"query\":\"%s\",\"sent\":%llu,\"answered\":%llu,\"timeouts\":%llu,\"bad\":%llu,"
         "\"late\":%llu,\"server_queries\":%llu,\"seconds\":%.3f,\"qps\":%.0f,"
         "\"cpu_share\":%.3f,\"p50_us\":%llu,"
         "\"p99_us\":%llu,\"query_bytes\":%zu,\"reply_bytes\":%.1f,\"nodes_per_reply\":%.2f,"
         "\"values_per_reply\":%.2f,\"tokens_per_reply\":%.2f}\n",
         options.query, (unsigned long long)sent, (unsigned long long)answered,
         (unsigned long long)timeouts, (unsigned long long)bad, (unsigned long long)late,
         (unsigned long long)server_queries, seconds, (double)answered / seconds, cpu,
         (unsigned long long)percentile(0.5), (unsigned long long)percentile(0.99), query.length,
         (double)reply_bytes / n, (double)reply_nodes / n, (double)reply_values / n,
         (double)reply_tokens / n);
  return 0;
}
