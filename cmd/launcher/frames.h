/*
 * Frames of lib/rpc/protocol.ts, sent to the agent and received from it. Each function says in words why it could not go on, and
 * NULL where it could.
 */

/* ---- The protocol's numbers: big-endian ---- */

enum { REQUEST = 1, READY, NOT_MINE, GO, ANSWER, QUEUED };
enum { MAGIC = 0x746701, HEADER = 8, REQUEST_HEAD = 24, ANSWER_HEAD = 8, GREATEST_BODY = 4 << 20 };

static void put(unsigned char *at, uint64_t number, int size) {
  for (; size--; number >>= 8) at[size] = (unsigned char)number;
}
static uint32_t get(const unsigned char *at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }

/* ---- Sent and received ---- */

/** Frames as they travel. Pages that nothing is written to do not exist. */
static unsigned char request[HEADER + GREATEST_BODY + 1], answer[HEADER + GREATEST_BODY + 1];

static const char HANGS_UP[] = "it hung up", NOBODY[] = "nobody listens on its socket", LATE[] = "no answer came in time";

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
