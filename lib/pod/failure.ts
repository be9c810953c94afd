/** Every typed error as a CNI error, in this one place: the code, and what to do about it. */
import { CniError, codes } from '../cni/error.ts';
import { TagsExhausted } from '../gate/node-state.ts';
import { AddressRefused, IpamConfigError, PoolExhausted } from '../ipam/error.ts';
import { NativeCallError, SyscallError } from '../kernel/ffi.ts';
import { LockTimeoutError } from '../kernel/flock.ts';
import { NetlinkError } from '../kernel/message.ts';
import { NetnsError } from '../kernel/netns.ts';
import { NftError } from '../kernel/nft-refusal.ts';
import { SysctlError } from '../kernel/sysctl.ts';
import { PolicyFileError } from '../nodestore/folder-listing.ts';
import { AlreadyReserved, StateError } from '../state/error.ts';

type Kind = abstract new (...args: never[]) => Error;

/** The first kind that fits decides, so subclasses stand before their base. */
const kinds: readonly (readonly [kind: Kind, code: number, advice?: string])[] = [
  [NetnsError, codes.invalidNetns],
  [IpamConfigError, codes.invalidConfig],
  [
    PoolExhausted,
    codes.poolExhausted,
    'delete pods, widen the range, or run `tollgate gc` if dead pods hold addresses',
  ],
  [AddressRefused, codes.poolExhausted],
  [AlreadyReserved, codes.duplicateAttachment],
  [StateError, codes.stateStore],
  [
    LockTimeoutError,
    codes.tryAgainLater,
    'another call for the same pod or node is under way; the runtime tries again',
  ],
  [
    PolicyFileError,
    codes.invalidConfig,
    'mend the file or take it out of the folder; `tollgate policy lint` says what is wrong',
  ],
  [TagsExhausted, codes.enforcementRefused, 'pods with equal namespace, labels and named ports share one identity'],
  [NftError, codes.nftRefused, '`tollgate verify` says what this node lacks, and what differs from what should be'],
  [NetlinkError, codes.kernelRefused],
  [SysctlError, codes.kernelRefused],
  [SyscallError, codes.kernelRefused],
  [NativeCallError, codes.internal],
];

/** @returns the error itself where it has a code, or is of no known kind: that is a defect of ours */
export function asCniError(error: unknown): unknown {
  if (error instanceof CniError) return error;
  const found = kinds.find(([kind]) => error instanceof kind);
  if (!found) return error;
  const [, code, advice] = found;
  return new CniError(code, (error as Error).message, advice, { cause: error });
}
