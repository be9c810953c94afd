/*
 * What the way between two pods costs, by one thread that is both of them: nothing is scheduled in between, so what is
 * measured is the kernel's work for the packets and no other program's.
 *
 *   both ROUNDS (CLIENT SERVER ADDRESS)...
 *
 * CLIENT and SERVER are network namespaces, ADDRESS is the server's. In each round each of the ways has its turn, a fraction
 * of a millisecond long, so that what else the machine does falls on all of them alike and leaves most turns alone.
 * Prints a line for each way: nanoseconds of a connection (opened, accepted, reset), of a round trip of one byte, and of whole
 * requests, each on a connection of its own, that are answered with 512 bytes and with 1 MiB; of each the quantile at a
 * twentieth, which is a turn that nothing disturbed. The last number is the slowest connection of a hundred, each timed alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 8080, MEASURES = 4, ALONE = 8, PIECE = 32 << 10, SMALL = 512, LARGE = 1 << 20 };

struct way {
  int client_netns, listener;
  struct sockaddr_in server;
  int client, peer; /* of the connection that stays, for round trips */
  double *times[MEASURES];
  double *alone; /* connections timed one by one, ALONE in each round */
};

static int ok(int result, const char *what)
{
  if (result < 0)
    err(1, "Cannot %s", what);
  return result;
}

static void enter(int netns)
{
  ok(setns(netns, CLONE_NEWNET), "enter a network namespace");
}

static double now(void)
{
  struct timespec time;

  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

static void connect_both(struct way *way, int *client, int *peer)
{
  const struct linger reset = { 1, 0 }; /* no port stays in TIME_WAIT */

  *client = ok(socket(AF_INET, SOCK_STREAM, 0), "open a socket");
  ok(setsockopt(*client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), "set SO_LINGER");
  ok(connect(*client, (struct sockaddr *)&way->server, sizeof(way->server)), "connect");
  *peer = ok(accept(way->listener, NULL, NULL), "accept");
}

static void come_and_go(struct way *way)
{
  int client, peer;

  connect_both(way, &client, &peer);
  close(client);
  close(peer);
}

static void pass(int from, int to, int size)
{
  static char bytes[PIECE];

  ok(send(from, bytes, size, 0), "send");
  for (int got, left = size; left > 0; left -= got) {
    got = recv(to, bytes, left, 0);
    if (got <= 0)
      err(1, "Cannot receive");
  }
}

static void answer(struct way *way, int size)
{
  int client, peer;

  connect_both(way, &client, &peer);
  pass(client, peer, 64);
  for (; size > 0; size -= PIECE)
    pass(peer, client, size < PIECE ? size : PIECE);
  close(client);
  close(peer);
}

static void bounce(struct way *way)
{
  pass(way->client, way->peer, 1);
  pass(way->peer, way->client, 1);
}

static void answer_small(struct way *way)
{
  answer(way, SMALL);
}

static void answer_large(struct way *way)
{
  answer(way, LARGE);
}

static const struct {
  void (*once)(struct way *);
  int often;
} measures[MEASURES] = { { come_and_go, 8 }, { bounce, 32 }, { answer_small, 6 }, { answer_large, 1 } };

static void open_way(struct way *way, char **argument, int rounds)
{
  const int on = 1;
  struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };

  way->server = any;
  if (!inet_aton(argument[2], &way->server.sin_addr))
    errx(2, "Cannot read the address %s", argument[2]);
  enter(ok(open(argument[1], O_RDONLY), "open the server's network namespace"));
  way->listener = ok(socket(AF_INET, SOCK_STREAM, 0), "open a socket");
  ok(bind(way->listener, (struct sockaddr *)&any, sizeof(any)), "bind");
  ok(listen(way->listener, 16), "listen");
  way->client_netns = ok(open(argument[0], O_RDONLY), "open the client's network namespace");
  enter(way->client_netns);
  connect_both(way, &way->client, &way->peer);
  setsockopt(way->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(way->peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  for (int i = 0; i < MEASURES; i++)
    way->times[i] = calloc(rounds, sizeof(double));
  way->alone = calloc(rounds * ALONE, sizeof(double));
}

static void take_turn(struct way *way, int round)
{
  enter(way->client_netns);
  come_and_go(way); /* caches are warm */
  for (int i = 0; i < MEASURES; i++) {
    const double start = now();

    for (int n = 0; n < measures[i].often; n++)
      measures[i].once(way);
    way->times[i][round] = (now() - start) / measures[i].often;
  }
  for (int n = 0; n < ALONE; n++) {
    const double start = now();

    come_and_go(way);
    way->alone[round * ALONE + n] = now() - start;
  }
}

static int ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;

  return (x > y) - (x < y);
}

static double quantile(double *times, int number, double at)
{
  qsort(times, number, sizeof(double), ascending);
  return times[(int)(number * at)];
}

int main(int argc, char **argv)
{
  const int rounds = argc > 1 ? atoi(argv[1]) : 0, number = (argc - 2) / 3;
  struct way *ways = calloc(number > 0 ? number : 1, sizeof(struct way));
  cpu_set_t here;

  if (rounds < 1 || number < 1)
    errx(2, "Cannot tell what to do: both ROUNDS (CLIENT SERVER ADDRESS)...");
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  ok(sched_setaffinity(0, sizeof(here), &here), "stay on one processor");
  for (int i = 0; i < number; i++)
    open_way(&ways[i], argv + 2 + 3 * i, rounds);
  for (int round = 0; round < rounds; round++)
    for (int i = 0; i < number; i++)
      take_turn(&ways[(i + round) % number], round);
  for (int i = 0; i < number; i++) {
    for (int m = 0; m < MEASURES; m++)
      printf("%.0f ", quantile(ways[i].times[m], rounds, 0.05));
    printf("%.0f\n", quantile(ways[i].alone, rounds * ALONE, 0.99));
  }
  return 0;
}
