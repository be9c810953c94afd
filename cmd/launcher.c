/*
 * The launcher: what runtimes find as `tollgate` and `tollgate-ipam`. It hands a CNI call to the agent's warm process, by the
 * frames of lib/rpc/protocol.ts and the rules of lib/rpc/client.ts, and is gone within a millisecond or so of the answer.
 * All else, and whatever a person types, is for the executable that lies beside it: `tollgate-node`.
 *
 * Before GO nothing has been done. So an agent that is alive is waited for, however busy it is; where it is not, tollgate-node
 * carries the call out, with the same environment and the whole of stdin, and a few such processes run at a time. An ADD that
 * only the agent may judge waits for one that is being replaced. After GO the launcher cannot know what has been done, so only
 * DEL, which may come twice, is carried out by tollgate-node.
 *
 * No C library, for the sake of size and start: libc's headers for numbers and types, and system calls. Needs /proc.
 */
#include "launcher/bare.h"
#include "launcher/frames.h"
#include "launcher/run-dir.h"

/* ---- The call ---- */

/** The verbs that an agent knows, with the ms that an answer may take where READY does not say (lib/rpc/timeouts.ts). */
static const struct verb { const char *name; uint32_t timeout; } verbs[] = {
  {"ADD", 130000}, {"DEL", 160000}, {"CHECK", 100000}, {"GC", 130000}, {"STATUS", 80000},
};
/** As `defaults` in lib/rpc/client.ts, in ms. */
enum { SILENCE = 5000, TURN = 90000 };
/** Until when a call waits that tollgate-node is to carry out, but this long at least. */
enum { SLOT = 110000, LEAST_SLOT = 20000 };
/** From one look at something to the next. */
enum { LOOK = 100 };

static char **arguments, **environment;
/** Absent where the call is not for the agent. */
static const struct verb *verb;
static struct text node;
static struct sockaddr_un agent = {.sun_family = AF_UNIX};
/** A file in memory with what stdin gave, for tollgate-node to read. */
static int stdin_copy = -1;
/** Stdin within the request; NUL follows. */
static const char *config = "";
/** When the call arrived. */
static struct timespec began;

static const char *variable(const char *name) {
  for (char **each = environment; *each; each++) {
    const char *value = after(*each, name);
    if (value && *value == '=') return value + 1;
  }
  return NULL;
}

/** The value behind the first such key of the config, in quotes; "" where there is none. A guess: this is no JSON parser. */
static const char *value_of(const char *key) {
  const char *value = NULL;
  for (const char *at = config; *at && !value; at++) value = after(at, key);
  while (value && (*value == ' ' || *value == '\t' || *value == '\n' || *value == '\r' || *value == ':')) value++;
  return value ? value : "";
}

/** The version that the config names, where that is easily told and it is one of ours; else our newest. Cf. `errorVersion`. */
static const char *version(void) {
  static const char *const known[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
  const char *value = value_of("\"cniVersion\""), *end;
  for (size_t i = 0; *value == '"' && i < sizeof known / sizeof *known; i++)
    if ((end = after(value + 1, known[i])) && *end == '"') return known[i];
  return "1.1.0";
}

/** The error that a runtime is told of; a person gets a line. */
static _Noreturn void fail(const char *code, const char *const message[], const char *details) {
  int is_call = variable("CNI_COMMAND") != NULL;
  struct text out = {0};
  add(&out, "{\"cniVersion\":\""), add(&out, version()), add(&out, "\",\"code\":"), add(&out, code), add(&out, ",\"msg\":\"");
  if (!is_call) out.size = 0, add(&out, "tollgate: ");
  while (*message) add_quoted(&out, *message++);
  add(&out, is_call ? "\",\"details\":\"" : ": "), add_quoted(&out, details), add(&out, is_call ? "\"}\n" : "\n");
  write_all(is_call ? 1 : 2, out.at, out.size);
  leave(is_call ? 1 : 3);
}

static void pause_to_look(void) {
  wait_for(-1, 0, &(struct timespec){0, LOOK * 1000000});
}

/* ---- Who carries the call out, other than the agent ---- */

/**
 * All further is for the executable, in the same role.
 * @param why  the agent of `run_dir` did not take the call, so that it is not asked again; NULL where it was not asked
 */
static _Noreturn void run_node(const char *why) {
  char *told[] = {arguments[0], "--not-handed-over", run_dir, (char *)why, NULL};
  if (stdin_copy >= 0) CALL(lseek, stdin_copy, 0, SEEK_SET), CALL(dup3, stdin_copy, 0, 0);
  long error = CALL(execve, node.at, why ? told : arguments, environment);
  fail("5", (const char *[]){"Cannot execute ", node.at, NULL},
       error == -ENOENT ? "it is missing: run `tollgate install` again" : "the kernel refuses it");
}

/** The same, when few enough others are at it. */
static _Noreturn void run_node_in_turn(const char *why) {
  struct timespec end = later(began, SLOT), least = later(now(), LEAST_SLOT);
  if (is_before(end, least)) end = least;
  for (; !take_slot(); pause_to_look())
    if (is_before(end, now()))
      fail("11", (const char *[]){"Cannot carry the ", verb->name, " out: too many calls do without the agent, for ", why, NULL},
           "see that `tollgate agent` runs on this node; the runtime tries again");
  run_node(why);
}

/** It may have been done, in part or whole. Cf. `lost`. */
static _Noreturn void lost(const char *why) {
  if (same(verb->name, "DEL")) run_node_in_turn(why);
  fail("11",
       (const char *[]){"Cannot tell what became of the ", verb->name, ": the agent took it over, and then ", why, NULL},
       same(verb->name, "ADD") ? "DEL, GC or the next agent clears what it left; the runtime tries again" : "the runtime tries again");
}

/* ---- The conversation ---- */

/** The frame after QUEUED, when it is this call's turn; waits as long as the agent gives signs of life. QUEUED is one. */
static const char *await_turn(int fd, uint32_t pid) {
  struct timespec end = later(began, TURN);
  /* By looks, each of which has read what had come: a caller that had no processor meanwhile has heard nothing. */
  for (int silent = 0;;) {
    const char *why = receive_frame(fd, later(now(), LOOK));
    if (why != LATE && (why || answer[3] != QUEUED)) return why;
    silent = !why || is_alive(pid) ? 0 : silent + LOOK;
    if (silent > SILENCE) return LATE;
    if (is_before(end, now())) return "it was busy for too long";
  }
}

/** @returns why there is no connection; its descriptor is in `fd`, or -1 */
static const char *connect_agent(int *fd) {
  *fd = (int)CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  /* Where its queue is full, connect() waits for as long as send() may; a full queue is a busy agent's. */
  struct timeval timeout = {1, 0};
  CALL(setsockopt, *fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  for (struct timespec end = later(began, TURN);;) {
    long error = CALL(connect, *fd, &agent, sizeof agent);
    if (!error) return NULL;
    if (error != -EAGAIN) return NOBODY;
    if (is_before(end, now())) return LATE;
  }
}

/** Asks the agent to take the call over. @returns why it does not; NULL where it waits for GO */
static const char *ask(size_t size, int *fd) {
  const char *why = connect_agent(fd);
  if (why) return why;
  struct ucred peer = {0};
  uint32_t length = sizeof peer;
  CALL(getsockopt, *fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
  received = 0;
  /* The kernel takes over what a call usually is; a larger one needs an agent that reads. */
  if (!(why = send_frame(*fd, request, size, later(began, TURN)))) why = await_turn(*fd, (uint32_t)peer.pid);
  if (why) return why;
  /* Its reason, behind which there are zeros; no argument may be of any length. */
  answer[HEADER + 1000] = 0;
  if (answer[3] == NOT_MINE) run_node_in_turn((const char *)answer + HEADER);
  return answer[3] == READY ? NULL : "it speaks another protocol";
}

/** Prints what is in the answer, and ends as it says. */
static _Noreturn void print_answer(void) {
  const unsigned char *body = answer + HEADER;
  uint64_t size = get(answer + 4), code = get(body), end = ANSWER_HEAD + (uint64_t)get(body + 4);
  if (answer[3] != ANSWER || size < ANSWER_HEAD || code > 1 || end > size) lost("it answered with something else");
  write_all(2, body + end, size - end);
  leave(write_all(1, body + ANSWER_HEAD, end - ANSWER_HEAD) ? (int)code : 1);
}

/** Whether the call must wait for an agent that is being replaced: an ADD that only an agent may judge. Cf. `mayReturn`. */
static int may_return(void) {
  uint64_t grace = 0;
  const char *digit = value_of("\"agentGrace\"");
  if (!same(verb->name, "ADD") || !after(value_of("\"enforcer\""), "\"agent\"")) return 0;
  if (*digit < '0' || *digit > '9') digit = "60";
  for (; *digit >= '0' && *digit <= '9' && grace < 100000; digit++) grace = grace * 10 + (uint64_t)(*digit - '0');
  return seconds_away() <= grace && is_before(now(), later(began, TURN));
}

static _Noreturn void hand_over(size_t size) {
  int fd;
  for (const char *why; (why = ask(size, &fd)); pause_to_look()) {
    CALL(close, fd);
    if (!may_return()) run_node_in_turn(why);
  }
  uint32_t timeout = get(answer + 4) == 4 ? get(answer + HEADER) : verb->timeout;
  struct timespec end = later(now(), timeout);
  unsigned char go[HEADER] = {0};
  put(go, MAGIC << 8 | GO, 4);
  const char *why = send_frame(fd, go, HEADER, end);
  if (why || (why = receive_frame(fd, end))) lost(why);
  print_answer();
}

/* ---- The request ---- */

/** Head and environment. @returns its size; 0 where it has no room, or the kernel does not tell the network namespace */
static size_t begin_request(int is_ipam) {
  size_t at = HEADER + REQUEST_HEAD;
  for (char **each = environment; *each; each++) {
    const char *byte = *each;
    do if (at == HEADER + GREATEST_BODY) return 0;
    while ((request[at++] = (unsigned char)*byte++));
  }
  struct stat netns;
  if (CALL(newfstatat, AT_FDCWD, "/proc/thread-self/ns/net", &netns, 0)) return 0;
  put(request + 8, netns.st_dev, 8), put(request + 16, netns.st_ino, 8);
  put(request + 24, (uint64_t)is_ipam, 4), put(request + 28, at - HEADER - REQUEST_HEAD, 4);
  return at;
}

/** Stdin, to its end: into the request from `at` on, and into its copy. @returns the request's size; 0 where it is too large */
static size_t end_request(size_t at) {
  const size_t most = HEADER + GREATEST_BODY;
  config = (const char *)request + at;
  for (long got;;) {
    /* What has no room there is for the copy only; the answer's place is free as yet. */
    unsigned char *to = at < most ? request + at : answer;
    got = CALL(read, 0, to, at < most ? most - at : GREATEST_BODY);
    if (got == 0) break;
    if (got == -EAGAIN && wait_for(0, POLLIN, NULL)) continue;
    if (got < 0 || !write_all(stdin_copy, to, (size_t)got))
      fail("5", (const char *[]){"Cannot read the network configuration from stdin", NULL}, "reading or keeping it failed");
    at += (size_t)got;
  }
  if (at >= most) return 0;
  put(request, MAGIC << 8 | REQUEST, 4), put(request + 4, at - HEADER, 4);
  return at;
}

/** No kernel warns of it, and no policy forbids it; before 6.3 the flag is unknown. */
static int memory_file(void) {
  long fd = CALL(memfd_create, "stdin", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  return (int)(fd == -EINVAL ? CALL(memfd_create, "stdin", MFD_CLOEXEC) : fd);
}

/* ---- Where it lies, and who calls ---- */

/** Finds tollgate-node, and the agent by `tollgate.rundir`: one line, an absolute path. @returns 0 where it says anything else */
static int find_agent(void) {
  static const char name[] = "/cni.sock";
  long size = CALL(readlinkat, AT_FDCWD, "/proc/self/exe", node.at, sizeof node.at - 1), got, fd;
  while (size > 0 && node.at[size - 1] != '/') size--;
  if (size <= 0) fail("5", (const char *[]){"Cannot find tollgate-node", NULL}, "/proc/self/exe does not say where: mount /proc");
  node.size = (size_t)size, add(&node, "tollgate.rundir"), node.at[node.size] = 0;
  fd = CALL(openat, AT_FDCWD, node.at, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  got = CALL(read, fd, run_dir, sizeof run_dir - 1);
  CALL(close, fd);
  node.size = (size_t)size, add(&node, "tollgate-node"), node.at[node.size] = 0;
  if (got > 0 && run_dir[got - 1] == '\n') run_dir[--got] = 0;
  for (long i = 0; i < got; i++) if (run_dir[i] == 0 || run_dir[i] == '\n') return 0;
  if (got <= 0 || run_dir[0] != '/' || (size_t)got + sizeof name > sizeof agent.sun_path) return 0;
  memcpy(agent.sun_path, run_dir, (size_t)got), memcpy(agent.sun_path + got, name, sizeof name);
  return 1;
}

static int is_called(const char *name) {
  const char *last = arguments[0] ? arguments[0] : "";
  for (const char *at = last; *at; at++) if (*at == '/') last = at + 1;
  return same(last, name);
}

/** @param stack  as the kernel lays it out: argc, argv, NULL, the environment, NULL */
__attribute__((used)) _Noreturn void enter(long *stack) {
  arguments = (char **)(stack + 1);
  environment = arguments + *stack + 1;
  /* Nothing that is opened here may be taken for one of the three; and who reads no answer is an error, not an end. */
  for (int fd = 0; fd < 3; fd++) if (CALL(fcntl, fd, F_GETFD) == -EBADF) CALL(openat, AT_FDCWD, "/dev/null", O_RDWR);
  const unsigned long ignored[4] = {1 /* SIG_IGN */};
  CALL(rt_sigaction, 13 /* SIGPIPE */, ignored, NULL, 8);
  const char *command = variable("CNI_COMMAND");
  for (size_t i = 0; command && i < sizeof verbs / sizeof *verbs; i++) if (same(command, verbs[i].name)) verb = &verbs[i];
  size_t size;
  began = now();
  if (!find_agent() || !verb || !(size = begin_request(is_called("tollgate-ipam")))) run_node(NULL);
  if ((stdin_copy = memory_file()) < 0) run_node(NULL);
  if (!(size = end_request(size))) run_node_in_turn("the call is larger than a frame");
  hand_over(size);
}
