// Listens to a node's events: opens N WebSockets or streams of server-sent events, reads them for a while, and prints one
// JSON line that says how late the events arrived. A message is late by the wall-clock time at which it was read minus the
// `at` in it. The server must therefore run on the same machine. Reads frames as in RFC 6455, and answers pings.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MAX_CONNECTIONS = 4000,
  READ_BYTES = 256 * 1024, // at a time, of one connection
  HEAD_BYTES = 64 * 1024,  // what is looked at of a message: more than the node sends at a time
  MAX_LATENESS_MS = 60000  // the last bucket holds everything later
};

typedef enum { HANDSHAKE, OPEN, CLOSED } state_t;

typedef struct {
  int fd;
  state_t state;
  // The part of the current frame that has been read: its header, then the first bytes of its payload.
  uint8_t header[14];
  unsigned header_length;
  uint64_t left;
  uint8_t head[HEAD_BYTES + 1];
  unsigned head_length;
  unsigned line; // bytes of "\r\n\r\n" seen, during the handshake
  uint64_t events;
} connection_t;

static connection_t connections[MAX_CONNECTIONS];
static uint32_t lateness[MAX_LATENESS_MS + 1];
static uint64_t events, others, messages, bytes_read, reads, closed, bad;
static bool measuring;
static bool is_stream;

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

// Returns the milliseconds since 1970 for text such as `"at":"2026-04-14T10:29:55.323Z"`, or -1.
static double time_of(const char *text) {
  int year, month, day, hour, minute;
  double second;
  if (sscanf(text, "\"at\":\"%d-%d-%dT%d:%d:%lfZ\"", &year, &month, &day, &hour, &minute, &second) != 6) return -1;
  struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
  return (double)timegm(&tm) * 1000 + second * 1000;
}

// Counts the events of a message. In each event, the type comes before the time.
static void note_message(connection_t *c) {
  static const char type[] = "\"type\":\"", counted[] = "data.store\",";
  c->head[c->head_length] = 0;
  messages++;
  for (const char *p = (const char *)c->head; (p = strstr(p, type)) != NULL;) {
    p += sizeof type - 1;
    if (strncmp(p, counted, sizeof counted - 1) != 0) {
      others++;
      continue;
    }
    double at = time_of(p + sizeof counted - 1);
    if (at < 0) bad++;
    else if (measuring) {
      double late = seconds(CLOCK_REALTIME) * 1000 - at;
      lateness[late < 0 ? 0 : late > MAX_LATENESS_MS ? MAX_LATENESS_MS : (int)late]++;
      events++;
      c->events++;
    }
  }
}

static void end(connection_t *c) {
  if (c->state == CLOSED) return;
  c->state = CLOSED;
  closed++;
  close(c->fd);
}

static void pong(connection_t *c) {
  // Mask with zeros: any mask is allowed.
  uint8_t frame[6 + 125] = {0x8a, (uint8_t)(0x80 | c->head_length)};
  memcpy(frame + 6, c->head, c->head_length);
  if (send(c->fd, frame, 6 + c->head_length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) bad++;
}

static void end_frame(connection_t *c) {
  uint8_t opcode = c->header[0] & 15;
  if (opcode == 1) note_message(c);
  else if (opcode == 9 && c->head_length <= 125) pong(c);
  else if (opcode == 8) end(c);
  else bad++;
  c->header_length = 0;
  c->head_length = 0;
}

static void take_frames(connection_t *c, const uint8_t *p, size_t length) {
  while (length > 0 && c->state == OPEN) {
    unsigned wanted = c->header_length < 2 ? 2 : (c->header[1] & 127) == 127 ? 10 : (c->header[1] & 127) == 126 ? 4 : 2;
    if (c->header_length < wanted) {
      c->header[c->header_length++] = *p++;
      length--;
      if (c->header_length < 2) continue;
      unsigned short_length = c->header[1] & 127;
      wanted = short_length == 127 ? 10 : short_length == 126 ? 4 : 2;
      if (c->header_length < wanted) continue;
      c->left = short_length < 126 ? short_length : 0;
      for (unsigned i = 2; i < wanted; i++) c->left = c->left << 8 | c->header[i];
      if (c->left == 0) end_frame(c);
      continue;
    }
    size_t part = length < c->left ? length : (size_t)c->left;
    size_t kept = part < HEAD_BYTES - c->head_length ? part : HEAD_BYTES - c->head_length;
    memcpy(c->head + c->head_length, p, kept);
    c->head_length += (unsigned)kept;
    c->left -= part;
    p += part;
    length -= part;
    if (c->left == 0) end_frame(c);
  }
}

// Handles the lines of a chunked stream. Lines with data are messages; all others belong to the framing.
static void take_lines(connection_t *c, const uint8_t *p, size_t length) {
  for (; length > 0; p++, length--) {
    if (*p != '\n') {
      if (c->head_length < HEAD_BYTES) c->head[c->head_length++] = *p;
    } else {
      if (c->head_length > 5 && memcmp(c->head, "data:", 5) == 0) note_message(c);
      c->head_length = 0;
    }
  }
}

static void take(connection_t *c, const uint8_t *p, size_t length) {
  while (length > 0 && c->state == HANDSHAKE) {
    static const char end_of_head[] = "\r\n\r\n";
    // Keep the first bytes of the status line like those of a message: the line is short.
    if (c->head_length < HEAD_BYTES) c->head[c->head_length++] = *p;
    c->line = *p == (uint8_t)end_of_head[c->line] ? c->line + 1 : *p == '\r' ? 1 : 0;
    p++;
    length--;
    if (c->line < 4) continue;
    c->head[c->head_length] = 0;
    if (strncmp((const char *)c->head, is_stream ? "HTTP/1.1 200 " : "HTTP/1.1 101 ", 13) != 0) end(c);
    else c->state = OPEN;
    c->head_length = 0;
  }
  if (is_stream) take_lines(c, p, length);
  else take_frames(c, p, length);
}

static void readable(connection_t *c) {
  static uint8_t buffer[READ_BYTES];
  ssize_t length = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (length > 0) {
    reads++;
    bytes_read += (uint64_t)length;
    take(c, buffer, (size_t)length);
  } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) end(c);
}

static void open_connection(connection_t *c, int poll, uint16_t port, const char *path) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) {
    perror("connect");
    exit(1);
  }
  char request[1024];
  int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s\r\n", path, port,
                        is_stream ? "Accept-Encoding: identity\r\n"
                                         : "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
  if (send(c->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
    perror("send");
    exit(1);
  }
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
}

static int percentile(double share) {
  if (events == 0) return -1;
  uint64_t wanted = (uint64_t)(share * (double)(events - 1)), seen = 0;
  for (int ms = 0; ms <= MAX_LATENESS_MS; ms++) {
    seen += lateness[ms];
    if (seen > wanted) return ms;
  }
  return MAX_LATENESS_MS;
}

static void wait_until(int poll, double end_at) {
  for (;;) {
    double left = end_at - seconds(CLOCK_MONOTONIC);
    if (left <= 0) return;
    struct epoll_event ready[256];
    int count = epoll_wait(poll, ready, 256, (int)(left * 1000) + 1);
    for (int i = 0; i < count; i++) readable(ready[i].data.ptr);
  }
}

static bool all_open(unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (connections[i].state == HANDSHAKE) return false;
  return true;
}

// events_load socket|stream PORT PATH CONNECTIONS SECONDS: prints "open" when all connections are open, waits for
// the end of its standard input, measures for SECONDS, and prints the result.
int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: events_load socket|stream PORT PATH CONNECTIONS SECONDS\n");
    return 2;
  }
  is_stream = strcmp(argv[1], "stream") == 0;
  uint16_t port = (uint16_t)atoi(argv[2]);
  unsigned count = (unsigned)atoi(argv[4]);
  double duration = atof(argv[5]);
  if (count == 0 || count > MAX_CONNECTIONS || duration <= 0) return 2;
  struct rlimit files = {count + 64, count + 64};
  setrlimit(RLIMIT_NOFILE, &files);
  int poll = epoll_create1(0);
  for (unsigned i = 0; i < count; i++) {
    open_connection(&connections[i], poll, port, argv[3]);
    wait_until(poll, seconds(CLOCK_MONOTONIC) + 0.0005);
  }
  for (double give_up = seconds(CLOCK_MONOTONIC) + 30; !all_open(count) && seconds(CLOCK_MONOTONIC) < give_up;)
    wait_until(poll, seconds(CLOCK_MONOTONIC) + 0.01);
  printf("open\n");
  fflush(stdout);
  fcntl(0, F_SETFL, O_NONBLOCK);
  for (char c; read(0, &c, 1) < 0;) wait_until(poll, seconds(CLOCK_MONOTONIC) + 0.005);
  measuring = true;
  bytes_read = reads = messages = 0;
  double cpu = cpu_seconds();
  wait_until(poll, seconds(CLOCK_MONOTONIC) + duration);
  double share = (cpu_seconds() - cpu) / duration;
  uint64_t least = UINT64_MAX, most = 0;
  for (unsigned i = 0; i < count; i++) {
    if (connections[i].events < least) least = connections[i].events;
    if (connections[i].events > most) most = connections[i].events;
  }
  printf("{\"connections\":%u,\"closed\":%llu,\"bad\":%llu,\"events\":%llu,\"per_second\":%.1f,"
         "\"least\":%llu,\"most\":%llu,\"others\":%llu,\"messages\":%llu,\"bytes\":%llu,\"reads\":%llu,"
         "\"p50_ms\":%d,\"p99_ms\":%d,\"max_ms\":%d,\"cpu_share\":%.3f}\n",
         count, (unsigned long long)closed, (unsigned long long)bad, (unsigned long long)events,
         (double)events / duration, (unsigned long long)least, (unsigned long long)most, (unsigned long long)others,
         (unsigned long long)messages,
         (unsigned long long)bytes_read, (unsigned long long)reads, percentile(0.5), percentile(0.99),
         percentile(1), share);
  return 0;
}
