/*
 * The launcher: what runtimes find as `tollgate` and `tollgate-ipam`. It hands a CNI call to the agent's warm process, by the
 * frames of lib/rpc/protocol.ts and the rules of lib/rpc/client.ts, and is gone within a millisecond or so of the answer.
 * All else, and whatever a person types, is for the executable that lies beside it: `tollgate-node`.
 *
 * Before GO nothing has been done. So an agent that is alive is waited for, however busy it is; where it is not, tollgate-node
 * carries the call out, with the same environment and the whole of stdin, and a few such processes run at a time. An ADD that only
 * the agent may judge waits for one that is being replaced. After GO the launcher cannot know what has been done, so only DEL, which
 * may come twice, is carried out by tollgate-node.
 *
 * No C library, for the sake of size and start: libc's headers for numbers and types, and system calls. Needs /proc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#endif

/* ---- The kernel ---- */

#if defined __x86_64__
static long raw(long n, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return n;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call enter\n");
#elif defined __aarch64__
static long raw(long n, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
__asm__(".globl _start\n_start: mov x29, 0\n mov x30, 0\n mov x0, sp\n bl enter\n");
#else
#error "The launcher knows the system calls of x86-64 and arm64"
#endif

/** A system call by its name, with up to six arguments: what it gives, or the negative error number. */
#define CALL(...) SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define SIX(name, a, b, c, d, e, f, ...) again(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
static long again(long n, long a, long b, long c, long d, long e, long f) {
  long got;
  do got = raw(n, a, b, c, d, e, f);
  while (got == -EINTR);
  return got;
}

static _Noreturn void leave(int code) {
  for (;;) CALL(exit_group, code);
}

/** Waits until there is something to read or room to write. @param timeout  NULL: for ever. @returns 0 where there is not */
static int wait_for(int fd, short events, const struct timespec *timeout) {
  struct pollfd one = {fd, events, 0};
  struct timespec left = timeout ? *timeout : (struct timespec){0};
  return CALL(ppoll, &one, 1, timeout ? &left : NULL) > 0;
}

/** Also to a pipe that its reader made non-blocking. @returns 0 where not all of it could be written */
static int write_all(int fd, const void *bytes, size_t size) {
  for (size_t at = 0; at < size;) {
    long got = CALL(write, fd, (const char *)bytes + at, size - at);
    if (got == -EAGAIN) wait_for(fd, POLLOUT, NULL);
    else if (got <= 0) return 0;
    else at += (size_t)got;
  }
  return 1;
}

/* ---- Text ---- */

/** By its own name, since compilers call it by themselves. */
void *memcpy(void *to, const void *from, size_t size) {
  for (size_t i = 0; i < size; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
  return to;
}

/** What follows a prefix; NULL where the text begins otherwise. */
static const char *after(const char *text, const char *prefix) {
  while (*prefix) if (*text++ != *prefix++) return NULL;
  return text;
}

static int same(const char *a, const char *b) {
  const char *rest = after(a, b);
  return rest && !*rest;
}

/** Text put together, cut where there is no room for all of it. */
struct text { size_t size; char at[PATH_MAX]; };
static void add(struct text *text, const char *more) {
  while (*more && text->size < sizeof text->at - 1) text->at[text->size++] = *more++;
}
/** Within a JSON string: what would have to be escaped there is in none of our words. */
static void add_quoted(struct text *text, const char *more) {
  for (char one[2] = {0}; (*one = *more); more++) add(text, *one == '"' || *one == '\\' || (unsigned char)*one < ' ' ? "?" : one);
}

/* ---- The protocol's numbers: big-endian ---- */

enum { REQUEST = 1, READY, NOT_MINE, GO, ANSWER, QUEUED };
enum { MAGIC = 0x746701, HEADER = 8, REQUEST_HEAD = 24, ANSWER_HEAD = 8, GREATEST_BODY = 4 << 20 };

static void put(unsigned char *at, uint64_t number, int size) {
  for (; size--; number >>= 8) at[size] = (unsigned char)number;
}
static uint32_t get(const unsigned char *at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }

/* ---- The call ---- */

/** The verbs that an agent knows, with the ms that an answer may take where READY does not say. */
static const struct verb { const char *name; uint32_t timeout; } verbs[] = {
  {"ADD", 130000}, {"DEL", 160000}, {"CHECK", 100000}, {"GC", 130000}, {"STATUS", 80000},
};
/**
 * As in lib/rpc/timeouts.ts, in ms: how long an agent may give no sign of life, and how long the call waits for its turn, or for an agent to
 * return, altogether. CRI-O gives a CNI ADD 2 minutes, kubelet gives the whole sandbox 4.
 */
enum { SILENCE = 5000, TURN = 90000 };
/** Until when a call waits that tollgate-node is to carry out, but this long at least; and how many such processes run at a time. */
enum { SLOT = 110000, LEAST_SLOT = 20000, SLOTS = 8 };
/** From one look at something to the next. */
enum { LOOK = 100 };

static char **arguments, **environment;
/** Absent where the call is not for the agent. */
static const struct verb *verb;
static struct text node;
/** As `tollgate.rundir` says it, as far as it can be a socket's folder. */
static char run_dir[sizeof((struct sockaddr_un *)0)->sun_path + 1];
static struct sockaddr_un agent = {.sun_family = AF_UNIX};
/** A file in memory with what stdin gave, for tollgate-node to read. */
static int stdin_copy = -1;
/** Frames as they travel. Pages that nothing is written to do not exist. */
static unsigned char request[HEADER + GREATEST_BODY + 1], answer[HEADER + GREATEST_BODY + 1];
/** Stdin within the request; NUL follows. */
static const char *config = "";
/** When the call arrived, and the agent last gave a sign of life. */
static struct timespec began, heard;

static const char *variable(const char *name) {
  for (char **each = environment; *each; each++) {
    const char *value = after(*each, name);
    if (value && *value == '=') return value + 1;
  }
  return NULL;
}

/** The value behind the first such key of the config, in quotes; "" where there is none. Good for a guess: this is no JSON parser. */
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

/* ---- Time ---- */

static struct timespec now(void) {
  struct timespec time;
  CALL(clock_gettime, CLOCK_MONOTONIC, &time);
  return time;
}

static struct timespec later(struct timespec time, uint32_t ms) {
  time.tv_sec += ms / 1000, time.tv_nsec += ms % 1000 * 1000000;
  if (time.tv_nsec >= 1000000000) time.tv_sec++, time.tv_nsec -= 1000000000;
  return time;
}

static int is_before(struct timespec a, struct timespec b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static int wait_until(struct timespec end, int fd, short events) {
  struct timespec time = now(), left = {end.tv_sec - time.tv_sec, end.tv_nsec - time.tv_nsec};
  for (; left.tv_nsec < 0; left.tv_sec--) left.tv_nsec += 1000000000;
  return left.tv_sec >= 0 && wait_for(fd, events, &left);
}

static void pause_to_look(void) {
  wait_for(-1, 0, &(struct timespec){0, LOOK * 1000000});
}

/* ---- Files ---- */

/** `run_dir` with a name, as a path. */
static struct text in_run_dir(const char *name) {
  struct text path = {0};
  add(&path, run_dir), add(&path, name), path.at[path.size] = 0;
  return path;
}

/** What a process does: the state as a letter, 0 where it cannot be seen, and the processor time that it has had. @see proc(5) */
struct life { char state; uint64_t ticks; };
static struct life life_of(uint32_t pid) {
  static char line[1024];
  struct life life = {0};
  struct text path = {0};
  char digits[12] = {0}, *digit = digits + 11;
  for (*--digit = '/'; pid; pid /= 10) *--digit = (char)('0' + pid % 10);
  add(&path, "/proc/"), add(&path, digit), add(&path, "stat"), path.at[path.size] = 0;
  long fd = CALL(openat, AT_FDCWD, path.at, O_RDONLY | O_CLOEXEC), got = CALL(read, fd, line, sizeof line - 1);
  CALL(close, fd);
  line[got > 0 ? got : 0] = 0;
  /* The name, in brackets, may hold anything, brackets and spaces too. */
  while (got > 0 && line[got - 1] != ')') got--;
  if (got <= 0) return life;
  life.state = line[got + 1];
  /* utime and stime, of all threads, are the 12th and 13th field after the state's own. */
  uint64_t number = 0;
  for (int field = 0, at = (int)got; line[at] && field <= 13; at++)
    if (line[at] == ' ') life.ticks += field == 12 || field == 13 ? number : 0, number = 0, field++;
    else if (line[at] >= '0' && line[at] <= '9') number = number * 10 + (uint64_t)(line[at] - '0');
  return life;
}

/** Seconds since the agent last showed that it is there (`agent.seen`); a great many where it never has. */
static uint64_t seconds_away(void) {
  struct text path = in_run_dir("/agent.seen");
  struct stat seen;
  struct timespec time;
  if (CALL(newfstatat, AT_FDCWD, path.at, &seen, 0)) return UINT64_MAX;
  CALL(clock_gettime, CLOCK_REALTIME, &time);
  return time.tv_sec > seen.st_mtim.tv_sec ? (uint64_t)(time.tv_sec - seen.st_mtim.tv_sec) : 0;
}

/**
 * A lock that stays with this process and what it becomes, one of a few. @returns 0 where other calls hold them all; where there can
 * be no locks, as before the first call on a node made the folder, none is needed
 */
static int take_slot(void) {
  for (char i = '1'; i < '1' + SLOTS; i++) {
    struct text path = in_run_dir("/node-process-");
    add(&path, (const char[]){i, 0}), add(&path, ".lock"), path.at[path.size] = 0;
    long fd = CALL(openat, AT_FDCWD, path.at, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || CALL(flock, fd, 2 /* LOCK_EX */ | 4 /* LOCK_NB */) == 0) return 1;
    CALL(close, fd);
  }
  return 0;
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

static const char HANGS_UP[] = "it hung up", NOBODY[] = "nobody listens on its socket", LATE[] = "no answer came in time";

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

/** @returns why it could not be sent */
static const char *send_frame(int fd, const unsigned char *frame, size_t size, struct timespec end) {
  for (size_t at = 0; at < size;) {
    long got = CALL(sendto, fd, frame + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (got == -EAGAIN && !wait_until(end, fd, POLLOUT)) return LATE;
    if (got < 0 && got != -EAGAIN) return HANGS_UP;
    if (got > 0) at += (size_t)got;
  }
  return NULL;
}

/** Bytes of the frame that is on its way into `answer`. */
static size_t received;

/** The next frame, which is then in `answer`. @returns why not; after LATE the next call goes on where this one was */
static const char *receive_frame(int fd, struct timespec end) {
  for (;;) {
    size_t wanted = HEADER + (received < HEADER ? 0 : (size_t)get(answer + 4));
    if (received >= HEADER && (get(answer) >> 8 != MAGIC || wanted > HEADER + GREATEST_BODY)) return "it speaks another protocol";
    if (received >= HEADER && received == wanted) break;
    if (!wait_until(end, fd, POLLIN)) return LATE;
    long got = CALL(recvfrom, fd, answer + received, wanted - received, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && got != -EAGAIN)) return HANGS_UP;
    if (got > 0) received += (size_t)got;
  }
  received = 0;
  return NULL;
}

/**
 * Whether the agent's process lives: it computes, waits in the kernel for what every process would wait for, or has done something
 * since the last look. Not, where it is stopped, or sleeps although it is called, or this process namespace does not show it.
 */
static int is_alive(uint32_t pid) {
  static uint64_t ticks;
  struct life life = {0};
  if (pid) life = life_of(pid);
  int is_busy = life.state == 'R' || life.state == 'D' || life.ticks != ticks;
  ticks = life.ticks;
  return is_busy;
}

/** The frame after QUEUED, which comes when it is this call's turn; waits as long as the agent gives signs of life. QUEUED is one. */
static const char *await_turn(int fd, uint32_t pid) {
  for (struct timespec end = later(began, TURN);;) {
    const char *why = receive_frame(fd, later(now(), LOOK));
    if (why != LATE && (why || answer[3] != QUEUED)) return why;
    if (!why || is_alive(pid)) heard = now();
    if (is_before(later(heard, SILENCE), now())) return LATE;
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
  heard = now(), received = 0;
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

/** Head and environment. @returns its size; 0 where it has no room, or nobody says whose network namespace this is */
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
