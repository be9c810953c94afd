/*
 * enter MOUNTS NETWORK COMMAND…: becomes the command in these two namespaces, and dies with who started it. setpriv and nsenter do
 * that too, but loading their libraries takes 3 ms of processor time, and tests start twenty thousand programs.
 */
#include "../../cmd/launcher/bare.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

static char **environment;

static _Noreturn void fail(const char *what, const char *value) {
  struct text said = {0};
  add(&said, "enter: cannot "), add(&said, what), add(&said, " "), add(&said, value), add(&said, "\n");
  write_all(2, said.at, said.size);
  leave(127);
}

static const char *path(void) {
  for (char **each = environment; *each; each++) {
    const char *value = after(*each, "PATH=");
    if (value) return value;
  }
  return "/usr/sbin:/usr/bin:/sbin:/bin";
}

/** As execvp(3); returns where there is no such program. */
static void become(char **command) {
  for (const char *name = *command; *name; name++)
    if (*name == '/') {
      CALL(execve, *command, command, environment);
      return;
    }
  for (const char *folder = path(); *folder; folder += *folder == ':') {
    struct text file = {0};
    for (; *folder && *folder != ':' && file.size < sizeof file.at - 1; folder++) file.at[file.size++] = *folder;
    add(&file, "/"), add(&file, *command), file.at[file.size] = 0;
    CALL(execve, file.at, command, environment);
  }
}

/** @param stack  as the kernel lays it out: argc, argv, NULL, the environment, NULL */
__attribute__((used)) _Noreturn void enter(long *stack) {
  static const int kinds[] = {CLONE_NEWNS, CLONE_NEWNET};
  char **arguments = (char **)(stack + 1);
  environment = arguments + *stack + 1;
  if (*stack < 4) fail("run", "without MOUNTS NETWORK COMMAND");
  CALL(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  long places[2];
  for (int i = 0; i < 2; i++)
    if ((places[i] = CALL(openat, AT_FDCWD, arguments[i + 1], O_RDONLY | O_CLOEXEC)) < 0) fail("open", arguments[i + 1]);
  for (int i = 0; i < 2; i++)
    if (CALL(setns, places[i], kinds[i])) fail("enter", arguments[i + 1]);
  become(arguments + 3);
  fail("run", arguments[3]);
}
