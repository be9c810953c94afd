/*
 * Starts plugins as runtimes do, which are small programs that need no copy of themselves for it: Node's own way takes longer
 * than the plugin, and would hide half of every difference.
 *
 *   calls WIDTH COMMAND [ARGUMENT...]
 *
 * On stdin, call after call: "<bytes of environment> <bytes of input>\n", variables that each end in NUL, and the plugin's
 * stdin. So many run at once. On stdout, in their order: "<call> <ns> <wait status> <bytes of stdout> <bytes of stderr>\n" and
 * what each wrote; then "<ns of all>\n". A call lasts from before its process is there until after it has ended.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct call {
  char **environment;
  int input[2], out, err;
  pid_t pid;
  long long start, ns;
  int status;
};

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static char *read_bytes(size_t size) {
  char *bytes = malloc(size + 1);
  if (!bytes || fread(bytes, 1, size, stdin) != size) die("calls: a call is cut short");
  bytes[size] = 0;
  return bytes;
}

/** Its stdin is there whole, and its outputs have room, before it is started. @returns 0 where there is no other */
static int read_call(struct call *call) {
  size_t env_size, input_size;
  if (scanf("%zu %zu", &env_size, &input_size) != 2) return 0;
  getchar();
  char *env = read_bytes(env_size), *input = read_bytes(input_size);
  call->environment = calloc(env_size / 2 + 2, sizeof(char *));
  for (size_t at = 0, i = 0; at < env_size; i++) {
    call->environment[i] = env + at;
    while (env[at++]);
  }
  if (pipe2(call->input, O_CLOEXEC)) die("calls: pipe");
  fcntl(call->input[1], F_SETPIPE_SZ, 1 << 20);
  if (write(call->input[1], input, input_size) != (ssize_t)input_size) die("calls: input");
  close(call->input[1]);
  free(input);
  call->out = memfd_create("out", MFD_CLOEXEC), call->err = memfd_create("err", MFD_CLOEXEC);
  if (call->out < 0 || call->err < 0) die("calls: memfd_create");
  return 1;
}

static void start(struct call *call, char **arguments) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, call->input[0], 0);
  posix_spawn_file_actions_adddup2(&actions, call->out, 1);
  posix_spawn_file_actions_adddup2(&actions, call->err, 2);
  call->start = now();
  if (posix_spawn(&call->pid, arguments[0], &actions, NULL, arguments, call->environment)) die(arguments[0]);
  posix_spawn_file_actions_destroy(&actions);
  close(call->input[0]);
}

static void print_file(int fd, size_t size) {
  char *bytes = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
  if (bytes == MAP_FAILED || fwrite(bytes, 1, size, stdout) != size) die("calls: output");
}

static size_t size_of(int fd) {
  struct stat stat;
  return fstat(fd, &stat) ? 0 : (size_t)stat.st_size;
}

int main(int count, char **arguments) {
  int width = count > 2 ? atoi(arguments[1]) : 0, number = 0;
  if (width < 1) return fprintf(stderr, "calls WIDTH COMMAND [ARGUMENT...]\n"), 2;
  struct call *calls = NULL;
  for (struct call call; read_call(&call); calls[number++] = call) calls = realloc(calls, (size_t)(number + 1) * sizeof call);
  long long begin = now();
  int started = 0, ended = 0;
  while (ended < number) {
    while (started < number && started - ended < width) start(&calls[started++], arguments + 2);
    int status;
    pid_t pid = wait(&status);
    long long end = now();
    for (int i = 0; i < started; i++)
      if (calls[i].pid == pid) calls[i].status = status, calls[i].ns = end - calls[i].start, calls[i].pid = -1;
    ended++;
  }
  long long all = now() - begin;
  for (int i = 0; i < number; i++) {
    size_t out = size_of(calls[i].out), err = size_of(calls[i].err);
    printf("%d %lld %d %zu %zu\n", i, calls[i].ns, calls[i].status, out, err);
    print_file(calls[i].out, out), print_file(calls[i].err, err);
  }
  printf("%lld\n", all);
  return 0;
}
