/*
 * All that the pods of the test cluster run, and what asks them from their own network namespaces.
 *
 *   pod wait                          nothing, until it is told to end
 *   pod serve NAME PORT…              TCP and UDP: echoes what comes, and answers `who` with NAME and the address that asks;
 *                                     TCP: answers an HTTP request with NAME
 *   pod flood ADDRESS PORT…           a datagram and a SYN to each pair, from the first instruction, without a pause
 *   pod greet ADDRESS PORT COUNT      so many datagrams from the first instruction, one each five milliseconds; then nothing
 *   pod ask tcp|udp ADDRESS PORT MS [WORD]
 *                                     one request, of WORD; prints the answer; exit 4, which is nobody else's, where none came
 *                                     in MS milliseconds
 *   pod talk ADDRESS PORT [MS]        one TCP connection that says a word each 10 ms; prints `talking` after the first
 *                                     echo, and after each tenth; at the end of stdin: `<echoes> <longest wait in ms>`;
 *                                     ends with an error where it breaks, or no echo comes for MS milliseconds (30,000)
 *   pod knock ADDRESS PORT US MS      each US microseconds a datagram from a port of its own; in the order of sending one
 *                                     line each, `<sent, in us since 1970> <1: echoed, 0: not in MS milliseconds>`; at the
 *                                     end of stdin the rest of them, and the end
 *
 * Addresses are IPv4 or IPv6. All of it is one static file, so that an image needs nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct target {
  struct sockaddr_storage address;
  socklen_t length;
};

static void die(const char *what) {
  perror(what);
  exit(3);
}

static int64_t now_us(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct target target_of(const char *address, const char *port) {
  struct target t = {0};
  struct sockaddr_in *four = (struct sockaddr_in *)&t.address;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)&t.address;
  if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(atoi(port));
    t.length = sizeof *four;
  } else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(atoi(port));
    t.length = sizeof *six;
  } else {
    fprintf(stderr, "%s is no address\n", address);
    exit(2);
  }
  return t;
}

static int open_socket(const struct target *t, int type) {
  int fd = socket(t->address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  return fd;
}

/* Both families by one socket. */
static int bind_all(int type, const char *port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
  int on = 1, off = 0, fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  if (type == SOCK_STREAM && listen(fd, 128) < 0) die("listen");
  return fd;
}

enum { WATCHED = 1024 };

/* NAME and an address; IPv4's as it is written, though the socket is of both families. */
static int introduce(char *answer, size_t size, const char *name, const struct sockaddr_storage *peer) {
  char address[INET6_ADDRSTRLEN] = "";
  inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)peer)->sin6_addr, address, sizeof address);
  return snprintf(answer, size, "%s %s\n", name, strncmp(address, "::ffff:", 7) == 0 ? address + 7 : address);
}

static int is_who(const char *bytes, ssize_t got) { return got == 3 && memcmp(bytes, "who", 3) == 0; }

/* Each descriptor once: streams that listen, datagram sockets, then connections. */
static void serve(const char *name, char **ports, int count) {
  static struct pollfd watched[WATCHED];
  char page[512], bytes[2048];
  int used = 0;
  int size = snprintf(page, sizeof page, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                      strlen(name) + 1, name);
  for (int i = 0; i < count; i++) watched[used++] = (struct pollfd){bind_all(SOCK_STREAM, ports[i]), POLLIN, 0};
  for (int i = 0; i < count; i++) watched[used++] = (struct pollfd){bind_all(SOCK_DGRAM, ports[i]), POLLIN, 0};
  for (;;) {
    if (poll(watched, used, -1) < 0) die("poll");
    for (int i = used - 1; i >= 0; i--) {
      if (!watched[i].revents) continue;
      int fd = watched[i].fd;
      if (i < count) {
        int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer >= 0 && used < WATCHED) watched[used++] = (struct pollfd){peer, POLLIN, 0};
        else if (peer >= 0) close(peer);
      } else if (i < 2 * count) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        ssize_t got = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);
        if (is_who(bytes, got)) got = introduce(bytes, sizeof bytes, name, &from);
        if (got >= 0) sendto(fd, bytes, got, 0, (struct sockaddr *)&from, length);
      } else {
        ssize_t got = read(fd, bytes, sizeof bytes);
        int is_http = got >= 4 && memcmp(bytes, "GET ", 4) == 0;
        if (is_who(bytes, got)) {
          struct sockaddr_storage peer;
          socklen_t length = sizeof peer;
          if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0) got = introduce(bytes, sizeof bytes, name, &peer);
        }
        if (got > 0) send(fd, is_http ? page : bytes, is_http ? size : got, MSG_NOSIGNAL);
        if (got > 0 && !is_http) continue;
        close(fd);
        watched[i] = watched[--used];
      }
    }
  }
}

static void flood(char **pairs, int count) {
  struct target targets[16];
  int datagrams[16], tried = 0;
  for (int i = 0; i < count && i < 16; i++) {
    targets[i] = target_of(pairs[2 * i], pairs[2 * i + 1]);
    datagrams[i] = open_socket(&targets[i], SOCK_DGRAM);
  }
  for (;; tried++) {
    for (int i = 0; i < count && i < 16; i++) {
      const struct sockaddr *to = (const struct sockaddr *)&targets[i].address;
      sendto(datagrams[i], "first", 5, 0, to, targets[i].length);
      int stream = open_socket(&targets[i], SOCK_STREAM);
      connect(stream, to, targets[i].length);
      close(stream);
    }
    /* The first thousand without a breath, then some for as long as it lives. */
    if (tried > 1000) usleep(20000);
  }
}

static void greet(struct target t, int count) {
  int fd = open_socket(&t, SOCK_DGRAM);
  while (count-- > 0) {
    sendto(fd, "first", 5, 0, (struct sockaddr *)&t.address, t.length);
    usleep(5000);
  }
  for (;;) pause();
}

/* A program that could not be started ends with other numbers, nsenter with 1. */
enum { SILENCE = 4 };

static int ask(const char *transport, struct target t, int patience, const char *word) {
  int is_stream = strcmp(transport, "tcp") == 0;
  int fd = open_socket(&t, is_stream ? SOCK_STREAM : SOCK_DGRAM);
  struct pollfd p = {fd, POLLOUT, 0};
  char answer[256];
  int64_t end = now_us(CLOCK_MONOTONIC) + (int64_t)patience * 1000;
  if (connect(fd, (struct sockaddr *)&t.address, t.length) < 0 && errno != EINPROGRESS) return SILENCE;
  if (poll(&p, 1, patience) != 1 || send(fd, word, strlen(word), MSG_NOSIGNAL) < 0) return SILENCE;
  int64_t left = (end - now_us(CLOCK_MONOTONIC)) / 1000;
  p.events = POLLIN;
  if (left < 0 || poll(&p, 1, left) != 1) return SILENCE;
  ssize_t got = read(fd, answer, sizeof answer);
  if (got <= 0) return SILENCE;
  printf("%.*s\n", (int)got, answer);
  return 0;
}

static int is_over(void) {
  struct pollfd in = {0, POLLIN, 0};
  char byte;
  return poll(&in, 1, 0) == 1 && read(0, &byte, 1) == 0;
}

static int talk(struct target t, int patience) {
  int fd = open_socket(&t, SOCK_STREAM);
  int64_t longest = 0;
  long echoes = 0;
  struct pollfd p = {fd, POLLOUT, 0};
  char byte;
  if (connect(fd, (struct sockaddr *)&t.address, t.length) < 0 && errno != EINPROGRESS) die("connect");
  if (poll(&p, 1, patience) != 1) die("connect");
  p.events = POLLIN;
  for (; !is_over(); echoes++) {
    int64_t said = now_us(CLOCK_MONOTONIC);
    if (send(fd, "w", 1, MSG_NOSIGNAL) != 1) die("send");
    if (poll(&p, 1, patience) != 1 || read(fd, &byte, 1) != 1) die("no echo");
    int64_t waited = now_us(CLOCK_MONOTONIC) - said;
    if (waited > longest) longest = waited;
    if (echoes % 10 == 0) puts("talking");
    usleep(10000);
  }
  printf("%ld %ld\n", echoes, (long)(longest / 1000));
  return 0;
}

enum { KNOCKS = 4096 };

struct knock {
  int fd;
  int64_t sent, deadline;
};

static int is_echoed(const struct knock *k) {
  char bytes[8];
  return recv(k->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0;
}

/* Those of which it is known, and those before them, in order. */
static int tell(struct knock *knocks, int first, int next, int wait_for_all) {
  while (first != next) {
    struct knock *k = &knocks[first % KNOCKS];
    int echoed = is_echoed(k);
    if (!echoed && now_us(CLOCK_MONOTONIC) < k->deadline) {
      if (!wait_for_all) return first;
      usleep(1000);
      continue;
    }
    printf("%lld %d\n", (long long)k->sent, echoed);
    close(k->fd);
    first++;
  }
  return first;
}

static int knock(struct target t, int interval, int patience) {
  static struct knock knocks[KNOCKS];
  int first = 0, next = 0;
  int64_t due = now_us(CLOCK_MONOTONIC);
  while (!is_over()) {
    if (next - first < KNOCKS) {
      struct knock *k = &knocks[next % KNOCKS];
      k->fd = open_socket(&t, SOCK_DGRAM);
      k->sent = now_us(CLOCK_REALTIME);
      k->deadline = now_us(CLOCK_MONOTONIC) + (int64_t)patience * 1000;
      sendto(k->fd, "knock", 5, 0, (struct sockaddr *)&t.address, t.length);
      next++;
    }
    due += interval;
    int64_t rest = due - now_us(CLOCK_MONOTONIC);
    if (rest > 0) usleep(rest);
    else due -= rest;
    first = tell(knocks, first, next, 0);
  }
  tell(knocks, first, next, 1);
  return 0;
}

/* The first process of a namespace gets no signal that it does not ask for. */
static void end(int signal) { _exit(128 + signal); }

int main(int count, char **words) {
  const char *verb = count > 1 ? words[1] : "";
  signal(SIGTERM, end);
  signal(SIGINT, end);
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (strcmp(verb, "flood") == 0 && count > 3) flood(words + 2, (count - 2) / 2);
  if (strcmp(verb, "serve") == 0 && count > 3) serve(words[2], words + 3, count - 3);
  if (strcmp(verb, "greet") == 0 && count == 5) greet(target_of(words[2], words[3]), atoi(words[4]));
  if (strcmp(verb, "ask") == 0 && (count == 6 || count == 7))
    return ask(words[2], target_of(words[3], words[4]), atoi(words[5]), count == 7 ? words[6] : "hello");
  if (strcmp(verb, "talk") == 0 && (count == 4 || count == 5))
    return talk(target_of(words[2], words[3]), count == 5 ? atoi(words[4]) : 30000);
  if (strcmp(verb, "knock") == 0 && count == 6)
    return knock(target_of(words[2], words[3]), atoi(words[4]), atoi(words[5]));
  if (strcmp(verb, "wait") == 0)
    for (;;) pause();
  fprintf(stderr, "usage: pod wait | serve | flood | greet | ask | talk | knock …\n");
  return 2;
}
