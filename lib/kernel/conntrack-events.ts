/**
 * Reads the kernel's events of connections that it begins and ceases to track. Events come by the thousand, so they wait in the
 * socket's buffer and are read many at a time: a wake-up for each would cost more than the event. Where the buffer was too
 * small, the kernel says so, and how many it dropped.
 * @see net/netfilter/nf_conntrack_netlink.c, ctnetlink_conntrack_event
 */
import { closeSync } from 'node:fs';
import { HEADER_LENGTH, readU16, readU32 } from '../netlink/header.ts';
import { ConntrackReader, type TrackedEntry } from './conntrack-entry.ts';
import { errnos } from './errno.ts';
import { dropsOf } from './event-socket.ts';
import { libc, SyscallError } from './ffi.ts';
import { bindToAnyPort, MSG, openSocket, SO, SOL_NETLINK, SOL_SOCKET, setOption } from './socket.ts';
import { NFNLGRP } from './subscription.ts';

const NETLINK_ADD_MEMBERSHIP = 1;
/** (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_* */
const CT = { NEW: 0x100, DELETE: 0x102 } as const;
/** 5,000 connections a second for a second, by the kernel's counting: 768 bytes and more an event. */
const BUFFER_SIZE = 16 * 1024 * 1024;
const { EAGAIN, EINTR, ENOBUFS } = errnos;

export interface ConntrackListener {
  readonly opened: (entry: TrackedEntry) => void;
  readonly closed: (entry: TrackedEntry) => void;
  /** Tells how many events were dropped, before those that follow or just before those that came last. */
  readonly lost: (events: number) => void;
}

/** Bound to the network namespace that it is opened in. Needs CAP_NET_ADMIN there. */
export class ConntrackEvents implements Disposable {
  readonly #fd: number;
  readonly #datagram = Buffer.allocUnsafe(65_536);
  readonly #reader = new ConntrackReader();
  #drops = 0;
  #isClosed = false;

  /** @throws SyscallError */
  constructor(bufferSize = BUFFER_SIZE) {
    this.#fd = openSocket('netfilter');
    try {
      setOption('grow a netlink buffer', this.#fd, SOL_SOCKET, SO.RCVBUFFORCE, bufferSize);
      bindToAnyPort(this.#fd);
      for (const group of [NFNLGRP.CONNTRACK_NEW, NFNLGRP.CONNTRACK_DESTROY])
        setOption('hear of tracked connections', this.#fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /**
   * Reads what has come, at most so many datagrams, which are mostly of one event each.
   * @returns whether there may be more
   * @throws SyscallError
   */
  drain(listener: ConntrackListener, most: number): boolean {
    if (this.#isClosed) return false;
    const { recv, errno } = libc();
    const size = BigInt(this.#datagram.length);
    for (let count = 0; count < most; count++) {
      const length = Number(recv(this.#fd, this.#datagram, size, MSG.DONTWAIT));
      if (length >= 0) {
        this.#read(length, listener);
        continue;
      }
      const reason = errno();
      if (reason === EINTR) continue;
      if (reason !== EAGAIN && reason !== ENOBUFS) throw new SyscallError('read events of tracked connections', reason);
      if (reason === EAGAIN) return false;
      this.#tellLoss(listener);
    }
    return true;
  }

  /** The kernel reports an overflow once, and goes on dropping until all that waits has been read. */
  #tellLoss({ lost }: ConntrackListener): void {
    const drops = dropsOf(this.#fd);
    lost(Math.max(drops - this.#drops, 1));
    this.#drops = drops;
  }

  /** Drops since the last word of them; to be asked where nothing waits to be read. */
  unreported(listener: ConntrackListener): void {
    if (!this.#isClosed && dropsOf(this.#fd) > this.#drops) this.#tellLoss(listener);
  }

  #read(length: number, { opened, closed }: ConntrackListener): void {
    const bytes = this.#datagram;
    for (let at = 0; at + HEADER_LENGTH <= length; ) {
      const size = readU32(bytes, at);
      if (size < HEADER_LENGTH || at + size > length) return;
      const type = readU16(bytes, at + 4);
      if (type === CT.NEW || type === CT.DELETE) {
        const entry = this.#reader.read(bytes, at + HEADER_LENGTH, at + size);
        if (entry) (type === CT.NEW ? opened : closed)(entry);
      }
      at += (size + 3) & ~3;
    }
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.#fd);
  }
}
