/*
 * Linux without a C library: system calls, text, time, and what /proc says of a process. libc's headers are there for numbers
 * and types only.
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

/* ---- Processes ---- */

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

/**
 * Whether a process lives: it computes, waits in the kernel for what every process would wait for, or has done something
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
