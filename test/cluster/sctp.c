/*
 * SCTP where the kernel has no such sockets: the four packets by which an association begins, written and read by a raw socket.
 *
 *   sctp serve                        answers on the ports that variables SERVE_SCTP_PORT_<port> name
 *   sctp ask SECONDS ADDRESS PORT     begins an association and aborts it; where no answer comes in time: TIMEOUT on stderr
 *                                     and exit 1, as agnhost says it
 *
 * Addresses are IPv4. See RFC 9260, sections 3 and 5.1.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INIT = 1, INIT_ACK = 2, ABORT = 6, COOKIE_ECHO = 10, COOKIE_ACK = 11 };
enum { STATE_COOKIE = 7, RETRANSMIT_MS = 300 };

/* One packet of one chunk. In network byte order, but for the checksum. */
struct packet {
  uint16_t source, destination;
  uint32_t tag, checksum;
  uint8_t type, flags;
  uint16_t length;
  union {
    struct {
      uint32_t tag, window;
      uint16_t outbound, inbound;
      uint32_t number;
      uint16_t parameter, parameter_length;
      uint32_t cookie;
    } init;
    uint32_t cookie;
  };
};
enum { COMMON = 12, CHUNK = 4, INIT_BODY = 16, COOKIE_PARAMETER = 8 };

extern char **environ;

static void die(const char *what) {
  perror(what);
  exit(3);
}

static uint32_t random_tag(void) {
  uint32_t tag = 0;
  while (tag == 0)
    if (getrandom(&tag, sizeof tag, 0) < 0) die("getrandom");
  return tag;
}

static uint32_t crc32c(const uint8_t *bytes, size_t length) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < length; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

/* `body`: bytes of the chunk after its header. */
static void send_packet(int socket, struct packet *p, const struct sockaddr_in *to, size_t body) {
  size_t length = COMMON + CHUNK + body;
  p->length = htons(CHUNK + body);
  p->checksum = 0;
  p->checksum = htole32(crc32c((uint8_t *)p, length));
  /* A gate that drops on the way out says EPERM: what asks learns it by its patience. */
  if (sendto(socket, p, length, 0, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EPERM) die("sendto");
}

/* Whether one came whole; without its IP header. */
static int receive_packet(int socket, struct packet *p, struct sockaddr_in *from) {
  uint8_t bytes[2048];
  socklen_t length = sizeof *from;
  ssize_t got = recvfrom(socket, bytes, sizeof bytes, 0, (struct sockaddr *)from, &length);
  if (got < 0) return 0;
  size_t header = (bytes[0] & 15) * 4;
  if ((size_t)got < header + COMMON + CHUNK) return 0;
  memset(p, 0, sizeof *p);
  size_t rest = got - header;
  memcpy(p, bytes + header, rest < sizeof *p ? rest : sizeof *p);
  return 1;
}

static int raw_socket(void) {
  int s = socket(AF_INET, SOCK_RAW, IPPROTO_SCTP);
  if (s < 0) die("socket");
  return s;
}

static int is_served(uint16_t port) {
  const char prefix[] = "SERVE_SCTP_PORT_";
  for (char **variable = environ; *variable; variable++)
    if (strncmp(*variable, prefix, sizeof prefix - 1) == 0 && atoi(*variable + sizeof prefix - 1) == port) return 1;
  return 0;
}

static void fill_init(struct packet *p, int type, uint32_t tag) {
  p->type = type;
  p->init.tag = tag;
  p->init.window = htonl(65536);
  p->init.outbound = p->init.inbound = htons(1);
  p->init.number = tag;
}

static void serve(void) {
  int s = raw_socket();
  uint32_t own = random_tag();
  struct packet p;
  struct sockaddr_in from;
  /* The first process of its namespace gets no signal that it does not ask for. */
  signal(SIGTERM, _exit);
  for (;;) {
    if (!receive_packet(s, &p, &from) || !is_served(ntohs(p.destination))) continue;
    struct packet answer = {.source = p.destination, .destination = p.source};
    if (p.type == INIT) {
      answer.tag = p.init.tag;
      fill_init(&answer, INIT_ACK, own);
      answer.init.parameter = htons(STATE_COOKIE);
      answer.init.parameter_length = htons(COOKIE_PARAMETER);
      /* All that this server must remember until the cookie comes back. */
      answer.init.cookie = p.init.tag;
      send_packet(s, &answer, &from, INIT_BODY + COOKIE_PARAMETER);
    } else if (p.type == COOKIE_ECHO && p.tag == own) {
      answer.tag = p.cookie;
      answer.type = COOKIE_ACK;
      send_packet(s, &answer, &from, 0);
    }
  }
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct association {
  int socket;
  struct sockaddr_in to;
  uint16_t source, destination;
  uint32_t own;
  int64_t deadline;
};

/* Says it again and again until the chunk comes that answers; exits where none comes. */
static struct packet exchange(const struct association *a, struct packet question, size_t body, int expected) {
  struct packet p;
  struct sockaddr_in from;
  question.source = a->source;
  question.destination = a->destination;
  while (now_ms() < a->deadline) {
    send_packet(a->socket, &question, &a->to, body);
    int64_t again = now_ms() + RETRANSMIT_MS;
    struct pollfd poller = {.fd = a->socket, .events = POLLIN};
    while (now_ms() < again && poll(&poller, 1, again - now_ms()) >= 0) {
      if (!(poller.revents & POLLIN) || !receive_packet(a->socket, &p, &from)) continue;
      int is_ours = from.sin_addr.s_addr == a->to.sin_addr.s_addr && p.source == a->destination &&
                    p.destination == a->source && p.tag == a->own;
      if (is_ours && p.type == expected) return p;
    }
  }
  fputs("TIMEOUT\n", stderr);
  exit(1);
}

static void ask(const char *seconds, const char *address, const char *port) {
  struct association a = {.socket = raw_socket(), .to = {.sin_family = AF_INET}, .own = random_tag()};
  if (inet_pton(AF_INET, address, &a.to.sin_addr) != 1) {
    fprintf(stderr, "sctp: %s: no IPv4 address\n", address);
    exit(2);
  }
  a.source = htons(32768 + random_tag() % 28000);
  a.destination = htons(atoi(port));
  a.deadline = now_ms() + strtod(seconds, NULL) * 1000;
  struct packet init = {0};
  fill_init(&init, INIT, a.own);
  struct packet accepted = exchange(&a, init, INIT_BODY, INIT_ACK);
  struct packet echo = {.tag = accepted.init.tag, .type = COOKIE_ECHO, .cookie = accepted.init.cookie};
  exchange(&a, echo, sizeof echo.cookie, COOKIE_ACK);
  struct packet abort = {
      .source = a.source, .destination = a.destination, .tag = accepted.init.tag, .type = ABORT};
  send_packet(a.socket, &abort, &a.to, 0);
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "serve") == 0) serve();
  if (count == 5 && strcmp(words[1], "ask") == 0) {
    ask(words[2], words[3], words[4]);
    return 0;
  }
  fputs("usage: sctp serve | sctp ask SECONDS ADDRESS PORT\n", stderr);
  return 2;
}
