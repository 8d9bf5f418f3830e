// Floods a node from many source addresses at a fixed rate, while a few contacts and strangers query it at a low rate.
// Prints one JSON line with the share of their queries that was answered.
//
// All addresses from 198.18.0.0 to 198.19.255.255 must be local: run it in a network namespace of its own.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  BATCH = 64,
  PACKET_BYTES = 1400,
  MAX_PACKETS = 500000,
  MAX_SOURCES = 60000,
  MAX_HONEST = 2000,
  NETWORKS = 250, // of the honest addresses, a /24 each
  MAX_QUERIES = 1 << 20,
  TOKEN_BYTES = 8,
  CONTACT_BITS = 12, // contacts share 0 to 11 bits with the node's id, so that its table has room for all of them
};

// Of a file: the length, the offsets of the token and of the transaction id (0: none), and the bytes.
typedef struct {
  uint16_t length, token_at, tid_at;
  uint8_t bytes[PACKET_BYTES];
} packet_t;

typedef struct {
  uint32_t address;
  uint8_t id[20];
} honest_t;

typedef enum { CONTACT, STRANGER, KINDS } kind_t;

static packet_t *packets;
static unsigned packet_count;
static uint8_t (*tokens)[TOKEN_BYTES];
static bool *has_token;
static honest_t honest[KINDS][MAX_HONEST];
static unsigned honest_count[KINDS];
static uint8_t kind_of[MAX_QUERIES];
static bool is_answered[MAX_QUERIES];
static uint32_t query_count, asked[KINDS], answered[KINDS];
static uint64_t sent, flooded;
static struct sockaddr_in server;
static uint8_t node_id[20];
static bool has_node_id;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t rng_state = 1;

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

// ---- sockets: each datagram has its own source address ----

typedef union {
  char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
  struct cmsghdr align;
} control_t;

typedef struct {
  int fd;
  struct mmsghdr tx[BATCH];
  struct iovec io[BATCH];
  control_t control[BATCH];
  uint8_t bytes[BATCH][PACKET_BYTES];
  unsigned count;
} sender_t;

static sender_t flooding, asking;

static void open_sender(sender_t *s) {
  int on = 1, room = 8 << 20;
  struct sockaddr_in any = {.sin_family = AF_INET};
  s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (s->fd < 0 || setsockopt(s->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0 ||
      bind(s->fd, (struct sockaddr *)&any, sizeof any) != 0) {
    perror("flood");
    exit(1);
  }
  for (int i = 0; i < BATCH; i++) {
    s->io[i].iov_base = s->bytes[i];
    s->tx[i].msg_hdr = (struct msghdr){.msg_name = &server,
                                       .msg_namelen = sizeof server,
                                       .msg_iov = &s->io[i],
                                       .msg_iovlen = 1,
                                       .msg_control = &s->control[i],
                                       .msg_controllen = sizeof s->control[i]};
    struct cmsghdr *c = CMSG_FIRSTHDR(&s->tx[i].msg_hdr);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
  }
}

static void flush(sender_t *s) {
  unsigned done = 0;
  while (done < s->count) {
    int n = sendmmsg(s->fd, s->tx + done, s->count - done, 0);
    if (n > 0) done += (unsigned)n;
    else if (errno == EAGAIN) usleep(50);
    else if (errno != EINTR && errno != ECONNREFUSED) {
      perror("sendmmsg");
      exit(1);
    }
  }
  s->count = 0;
}

static void put(sender_t *s, uint32_t source, const uint8_t *bytes, size_t length) {
  if (s->count == BATCH) flush(s);
  struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(source)};
  memcpy(CMSG_DATA(CMSG_FIRSTHDR(&s->tx[s->count].msg_hdr)), &info, sizeof info);
  memcpy(s->bytes[s->count], bytes, length);
  s->io[s->count++].iov_len = length;
}

// Receives a datagram without waiting. Returns its length, or -1; sets the address that it was sent to.
static int receive(sender_t *s, uint8_t *bytes, uint32_t *at) {
  control_t control;
  struct iovec io = {bytes, 4096};
  struct msghdr header = {
      .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(s->fd, &header, 0);
  if (n < 0) return -1;
  struct cmsghdr *c = CMSG_FIRSTHDR(&header);
  struct in_pktinfo info;
  if (c == NULL || c->cmsg_type != IP_PKTINFO) return -1;
  memcpy(&info, CMSG_DATA(c), sizeof info);
  *at = ntohl(info.ipi_addr.s_addr);
  return (int)n;
}

// ---- addresses ----

static const uint32_t FLOOD_BASE = 0xc6120001u, HONEST_BASE = 0xc6130001u; // 198.18.0.1, 198.19.0.1

static uint32_t honest_address(kind_t kind, unsigned i) {
  return HONEST_BASE + ((uint32_t)(i % NETWORKS) << 8) + i / NETWORKS + (kind == STRANGER ? 1 : 0);
}

// ---- queries and answers ----

static size_t query(uint8_t *out, const uint8_t *id, const char *method, const char *key, uint32_t tid) {
  uint8_t *p = out;
  memcpy(p, "d1:ad2:id20:", 12), p += 12;
  memcpy(p, id, 20), p += 20;
  if (key) {
    p += sprintf((char *)p, "%s", key);
    random_id(p), p += 20;
  }
  p += sprintf((char *)p, "e1:q%zu:%s1:t4:", strlen(method), method);
  memcpy(p, &tid, 4), p += 4;
  memcpy(p, "1:v4:LT..1:y1:qe", 16), p += 16;
  return (size_t)(p - out);
}

static const uint8_t *find(const uint8_t *p, int length, const char *text) {
  return memmem(p, (size_t)length, text, strlen(text));
}

static void ask(kind_t kind, honest_t *one, const char *method, const char *key) {
  uint8_t bytes[PACKET_BYTES];
  uint32_t tid = query_count++ % MAX_QUERIES;
  kind_of[tid] = (uint8_t)kind;
  is_answered[tid] = false;
  asked[kind]++;
  put(&asking, one->address, bytes, query(bytes, one->id, method, key, tid));
}

// Answers the node's pings as a contact would.
static void answer(const uint8_t *bytes, int length, uint32_t at) {
  const uint8_t *t = find(bytes, length, "1:t4:");
  for (unsigned i = 0; t && i < honest_count[CONTACT]; i++) {
    honest_t *one = &honest[CONTACT][i];
    if (one->address != at) continue;
    uint8_t out[100];
    memcpy(out, "d1:rd2:id20:", 12);
    memcpy(out + 12, one->id, 20);
    memcpy(out + 32, "e1:t4:", 6);
    memcpy(out + 38, t + 5, 4);
    memcpy(out + 42, "1:y1:re", 7);
    put(&asking, at, out, 49);
  }
}

static void read_replies(void) {
  uint8_t bytes[4096];
  uint32_t at;
  for (int n; (n = receive(&asking, bytes, &at)) >= 0;) {
    if (find(bytes, n, "1:y1:q")) {
      answer(bytes, n, at);
      continue;
    }
    const uint8_t *t = find(bytes, n, "e1:t4:");
    if (!t || t + 10 > bytes + n) continue;
    uint32_t tid;
    memcpy(&tid, t + 6, 4);
    if (tid >= MAX_QUERIES || is_answered[tid]) continue;
    is_answered[tid] = true;
    answered[kind_of[tid]]++;
    const uint8_t *id = find(bytes, n, "2:id20:");
    if (!has_node_id && id) memcpy(node_id, id + 7, 20), has_node_id = true;
  }
}

static void wait_ms(unsigned ms) {
  for (uint64_t end = now_ns() + ms * 1000000u; now_ns() < end;) {
    read_replies();
    flush(&asking);
    usleep(500);
  }
}

static void make_contacts(unsigned count) {
  for (int tries = 0; !has_node_id && tries < 20; tries++) {
    ask(STRANGER, &honest[STRANGER][0], "ping", NULL);
    wait_ms(100);
  }
  honest_count[CONTACT] = count;
  for (unsigned i = 0; i < count; i++) {
    honest_t *one = &honest[CONTACT][i];
    one->address = honest_address(CONTACT, i);
    random_id(one->id);
    unsigned bit = i % CONTACT_BITS;
    for (unsigned b = 0; b <= bit; b++) { // the first `bit` bits of the node's id, then another one
      uint8_t mask = (uint8_t)(0x80 >> b % 8), wanted = node_id[b / 8] & mask;
      if (b == bit) wanted ^= mask;
      one->id[b / 8] = (uint8_t)((one->id[b / 8] & ~mask) | wanted);
    }
  }
  for (int round = 0; round < 3; round++) {
    for (unsigned i = 0; i < count; i++) {
      ask(CONTACT, &honest[CONTACT][i], "ping", NULL);
      wait_ms(110); // the node pings at most ten newcomers a second
    }
  }
}

static void get_tokens(unsigned sources) {
  uint8_t bytes[4096];
  uint32_t at;
  for (int round = 0; round < 3; round++) {
    for (unsigned i = 0; i <= sources + 50; i++) {
      if (i < sources && !has_token[i]) {
        uint8_t id[20];
        random_id(id);
        put(&flooding, FLOOD_BASE + i, bytes, query(bytes, id, "get_peers", "9:info_hash20:", i));
      }
      if (i % 8 == 0) {
        flush(&flooding);
        usleep(i < sources ? 1500 : 20000);
        for (int n; (n = receive(&flooding, bytes, &at)) >= 0;) {
          const uint8_t *token = find(bytes, n, "5:token8:");
          uint32_t source = at - FLOOD_BASE;
          if (!token || source >= sources) continue;
          memcpy(tokens[source], token + 9, TOKEN_BYTES);
          has_token[source] = true;
        }
      }
    }
  }
}

// ---- the run ----

static void send_flood(unsigned sources) {
  static unsigned next_packet, next_source;
  packet_t *p = &packets[next_packet++ % packet_count];
  unsigned source = next_source++ % sources;
  uint8_t bytes[PACKET_BYTES];
  memcpy(bytes, p->bytes, p->length);
  if (p->token_at) memcpy(bytes + p->token_at, tokens[source], TOKEN_BYTES);
  if (p->tid_at) {
    uint32_t tid = (uint32_t)rng();
    memcpy(bytes + p->tid_at, &tid, 4);
  }
  put(&flooding, FLOOD_BASE + source, bytes, p->length);
  sent++;
  flooded++;
}

static void ask_all(kind_t kind, double rate, uint64_t elapsed, unsigned *done) {
  unsigned due = (unsigned)((double)elapsed / 1e9 * rate * honest_count[kind]);
  for (; *done < due; (*done)++) {
    ask(kind, &honest[kind][*done % honest_count[kind]], "find_node", "6:target20:");
  }
}

static void read_packets(const char *file) {
  FILE *f = fopen(file, "rb");
  packets = calloc(MAX_PACKETS, sizeof *packets);
  if (!f || !packets) {
    perror(file);
    exit(1);
  }
  uint16_t head[3];
  while (packet_count < MAX_PACKETS && fread(head, 2, 3, f) == 3 && head[0] <= PACKET_BYTES) {
    packet_t *p = &packets[packet_count++];
    p->length = head[0], p->token_at = head[1], p->tid_at = head[2];
    if (fread(p->bytes, 1, head[0], f) != head[0]) exit(1);
  }
  fclose(f);
}

// flood HOST PORT PACKETS RATE SECONDS SOURCES CONTACTS STRANGERS
int main(int argc, char **argv) {
  if (argc != 9) {
    fprintf(stderr, "usage: flood HOST PORT PACKETS RATE SECONDS SOURCES CONTACTS STRANGERS\n");
    return 2;
  }
  server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  inet_pton(AF_INET, argv[1], &server.sin_addr);
  read_packets(argv[3]);
  double rate = atof(argv[4]), duration = atof(argv[5]);
  unsigned sources = (unsigned)atoi(argv[6]), contacts = (unsigned)atoi(argv[7]);
  honest_count[STRANGER] = (unsigned)atoi(argv[8]);
  if (sources < 1 || sources > MAX_SOURCES || contacts > NETWORKS || honest_count[STRANGER] < 1 ||
      honest_count[STRANGER] > MAX_HONEST || packet_count == 0) {
    return 2;
  }
  tokens = calloc(sources, sizeof *tokens);
  has_token = calloc(sources, sizeof *has_token);
  open_sender(&flooding);
  open_sender(&asking);
  for (unsigned i = 0; i < honest_count[STRANGER]; i++) {
    honest[STRANGER][i].address = honest_address(STRANGER, i);
    random_id(honest[STRANGER][i].id);
  }
  make_contacts(contacts);
  if (packets[0].token_at) get_tokens(sources);
  asked[CONTACT] = asked[STRANGER] = answered[CONTACT] = answered[STRANGER] = 0;
  printf("ready\n");
  fflush(stdout);

  uint64_t start = now_ns(), elapsed;
  unsigned by_contacts = 0, by_strangers = 0;
  while ((elapsed = now_ns() - start) < (uint64_t)(duration * 1e9)) {
    uint64_t due = (uint64_t)((double)elapsed / 1e9 * rate);
    // If this process was not scheduled for a while, don't make up for it: that would be a higher rate.
    if (due > sent + (uint64_t)(rate / 100) + BATCH) sent = due - BATCH;
    for (int i = 0; i < BATCH && sent < due; i++) send_flood(sources);
    flush(&flooding);
    ask_all(CONTACT, 10, elapsed, &by_contacts);
    ask_all(STRANGER, 0.1, elapsed, &by_strangers);
    read_replies();
    flush(&asking);
    if (sent >= due) usleep(100);
  }
  wait_ms(300);
  unsigned with_token = 0;
  for (unsigned i = 0; i < sources; i++) with_token += has_token[i];
  printf("{\"contacts_asked\":%u,\"contacts_answered\":%u,\"strangers_asked\":%u,\"strangers_answered\":%u,"
         "\"tokens\":%u,\"flooded\":%llu}\n",
         asked[CONTACT], answered[CONTACT], asked[STRANGER], answered[STRANGER], with_token,
         (unsigned long long)flooded);
  return 0;
}
