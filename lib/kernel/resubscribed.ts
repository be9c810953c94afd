import type { NetlinkReply } from './message.ts';
import type { NetlinkProtocol } from './socket.ts';
import { Subscription } from './subscription.ts';

/** A subscription that is made anew when it is lost; whoever listens then has to look for himself at what he missed. */
export function resubscribed(
  protocol: NetlinkProtocol,
  groups: readonly number[],
  { onMessage, onGap }: { readonly onMessage: (message: NetlinkReply) => void; readonly onGap: () => void },
): Disposable {
  let current: Subscription | undefined;
  let isOver = false;
  const subscribe = (): void => {
    if (isOver) return;
    const onLost = (): void => {
      onGap();
      setImmediate(subscribe);
    };
    current = new Subscription(protocol, groups, { onMessage, onLost });
  };
  subscribe();
  return {
    [Symbol.dispose]() {
      isOver = true;
      current?.[Symbol.dispose]();
    },
  };
}
