/** Watches the kernel for changes that undo the node's upkeep: its routes, and forwarding. */
import { isForwardingOff } from '../kernel/netconf.ts';
import { resubscribed } from '../kernel/resubscribed.ts';
import { RTNLGRP } from '../kernel/subscription.ts';
import { concernsOurs } from '../node/routes.ts';

/** Rings whenever there may be something to put right, until it is disposed of. */
export const watchNode = (ring: () => void): Disposable =>
  resubscribed('route', [RTNLGRP.IPV4_ROUTE, RTNLGRP.IPV6_ROUTE, RTNLGRP.IPV4_NETCONF, RTNLGRP.IPV6_NETCONF], {
    onMessage: message => {
      if (concernsOurs(message) || isForwardingOff(message)) ring();
    },
    onGap: ring,
  });
