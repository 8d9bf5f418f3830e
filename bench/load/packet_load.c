// Sends prepared datagrams to a server on loopback and counts the answers, whatever they contain: the generator for
// packets that only their sender could make, such as sealed ones. They come from one address, for which they were made.
//
//   packet_load --port N --local-port N --packets FILE [--query any] [--window 32] [--seconds 2] [--warmup 0.5]
//
// FILE is a sequence of datagrams, each after its length in two bytes, little-endian. The first one to send is chosen at
// random. Prints the same JSON object as krpc_load. Linux only.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 32, MAX_PACKETS = 1 << 17, MAX_FILE_BYTES = 1 << 27, RX_BYTES = 2048, MAX_WINDOW = 1024, MAX_LATENCY_US = 200000 };

static struct { const uint8_t *at; size_t length; } packets[MAX_PACKETS];
static unsigned packet_count, next_packet;
static uint64_t sent_ns[MAX_WINDOW]; // a ring: answers come in the order of the queries
static unsigned oldest, outstanding, window = 32;
static uint64_t answered, timeouts, reply_bytes;
static uint32_t latency_us[MAX_LATENCY_US + 1];
static struct mmsghdr tx[BATCH], rx[BATCH];
static struct iovec tx_io[BATCH], rx_io[BATCH];
static uint8_t rx_bytes[BATCH][RX_BYTES];
static int sock;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void fill_window(void) {
  while (outstanding < window) {
    unsigned count = 0;
    uint64_t now = now_ns();
    for (; count < BATCH && outstanding < window; count++, outstanding++) {
      sent_ns[(oldest + outstanding) % MAX_WINDOW] = now;
      tx_io[count] = (struct iovec){(void *)packets[next_packet].at, packets[next_packet].length};
      tx[count].msg_hdr = (struct msghdr){.msg_iov = &tx_io[count], .msg_iovlen = 1};
      next_packet = (next_packet + 1) % packet_count;
    }
    for (unsigned done = 0; done < count;) {
      int n = sendmmsg(sock, tx + done, count - done, 0);
      if (n > 0) done += (unsigned)n;
    }
  }
}

static void run_until(uint64_t end) {
  for (;;) {
    fill_window();
    for (int i = 0; i < BATCH; i++) {
      rx_io[i] = (struct iovec){rx_bytes[i], RX_BYTES};
      rx[i].msg_hdr = (struct msghdr){.msg_iov = &rx_io[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(sock, rx, BATCH, MSG_WAITFORONE, NULL);
    uint64_t now = now_ns();
    if (n <= 0) { // nothing has arrived for a while: what is outstanding is lost
      timeouts += outstanding;
      outstanding = 0;
    }
    for (int i = 0; i < n; i++) {
      if (outstanding == 0) break;
      uint64_t us = (now - sent_ns[oldest]) / 1000;
      latency_us[us < MAX_LATENCY_US ? us : MAX_LATENCY_US]++;
      oldest = (oldest + 1) % MAX_WINDOW;
      outstanding--;
      answered++;
      reply_bytes += rx[i].msg_len;
    }
    if (now >= end) return;
  }
}

static unsigned percentile(double share) {
  uint64_t rank = (uint64_t)(share * (double)answered), seen = 0;
  for (unsigned us = 0; us <= MAX_LATENCY_US; us++) {
    seen += latency_us[us];
    if (seen > rank) return us;
  }
  return 0;
}

static void read_packets(const char *path) {
  static uint8_t all[MAX_FILE_BYTES];
  FILE *file = fopen(path, "rb");
  size_t size = file ? fread(all, 1, sizeof all, file) : 0, at = 0;
  while (at + 2 < size && packet_count < MAX_PACKETS) {
    size_t length = (size_t)all[at] | (size_t)all[at + 1] << 8;
    packets[packet_count].at = all + at + 2;
    packets[packet_count++].length = length;
    at += 2 + length;
  }
  if (packet_count == 0) {
    fprintf(stderr, "packet_load: no packets in %s\n", path);
    exit(2);
  }
  // A node drops replays of the packets that it opened last, which may be those of a run before.
  next_packet = (unsigned)now_ns() % packet_count;
}

int main(int argc, char **argv) {
  unsigned port = 0, local_port = 0;
  double seconds = 2, warmup = 0.5;
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (strcmp(name, "--port") == 0) port = (unsigned)atoi(value);
    else if (strcmp(name, "--local-port") == 0) local_port = (unsigned)atoi(value);
    else if (strcmp(name, "--window") == 0) window = (unsigned)atoi(value);
    else if (strcmp(name, "--seconds") == 0) seconds = atof(value);
    else if (strcmp(name, "--warmup") == 0) warmup = atof(value);
    else if (strcmp(name, "--packets") == 0) read_packets(value);
  }
  if (port == 0 || packet_count == 0 || window < 1 || window > MAX_WINDOW) {
    fputs("usage: packet_load --port N --local-port N --packets FILE [--window 32] [--seconds 2] [--warmup 0.5]\n", stderr);
    return 2;
  }
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)local_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in there = here;
  there.sin_port = htons((uint16_t)port);
  struct timeval wait = {.tv_usec = 200000};
  int room = 4 << 20;
  sock = socket(AF_INET, SOCK_DGRAM, 0);
  setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 ||
      bind(sock, (struct sockaddr *)&here, sizeof here) != 0 ||
      connect(sock, (struct sockaddr *)&there, sizeof there) != 0) {
    perror("packet_load");
    return 1;
  }
  run_until(now_ns() + (uint64_t)(warmup * 1e9));
  answered = timeouts = reply_bytes = 0;
  memset(latency_us, 0, sizeof latency_us);
  double cpu = cpu_seconds();
  uint64_t begin = now_ns();
  run_until(begin + (uint64_t)(seconds * 1e9));
  double took = (double)(now_ns() - begin) / 1e9;
  printf("{\"answered\":%llu,\"timeouts\":%llu,\"bad\":0,\"qps\":%.0f,\"cpu_share\":%.3f,\"p50_us\":%u,\"p99_us\":%u,"
         "\"reply_bytes\":%.1f,\"nodes_per_reply\":0}\n",
         (unsigned long long)answered, (unsigned long long)timeouts, (double)answered / took,
         (cpu_seconds() - cpu) / took, percentile(0.5), percentile(0.99),
         answered ? (double)reply_bytes / (double)answered : 0.0);
  return 0;
}
