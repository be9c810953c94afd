import type { NetlinkProtocol } from './socket.ts';
import { type Listener, Subscription } from './subscription.ts';

/** Makes the subscription anew when it is lost. The caller then has to read for itself what it missed: see `onGap`. */
export function resubscribed(
  protocol: NetlinkProtocol,
  groups: readonly number[],
  { onGap, ...listener }: Omit<Listener, 'onLost'> & { readonly onGap: () => void },
): Disposable {
  let current: Subscription | undefined;
  let isOver = false;
  const subscribe = (): void => {
    if (isOver) return;
    const onLost = (): void => {
      onGap();
      setImmediate(subscribe);
    };
    current = new Subscription(protocol, groups, { ...listener, onLost });
  };
  subscribe();
  return {
    [Symbol.dispose]() {
      isOver = true;
      current?.[Symbol.dispose]();
    },
  };
}
