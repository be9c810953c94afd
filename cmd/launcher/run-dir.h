/* The agent's run folder: its heartbeat, and locks of the processes that carry calls out in its place. */

/** Processes that carry calls out at a time. */
enum { SLOTS = 8 };
/** As `tollgate.rundir` says it, as far as it can be a socket's folder. */
static char run_dir[sizeof((struct sockaddr_un *)0)->sun_path + 1];

/** `run_dir` with a name, as a path. */
static struct text in_run_dir(const char *name) {
  struct text path = {0};
  add(&path, run_dir), add(&path, name), path.at[path.size] = 0;
  return path;
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
 * A lock that stays with this process and what it becomes, one of a few. @returns 0 where other calls hold them all; where
 * there can be no locks, as before the first call on a node made the folder, none is needed
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
