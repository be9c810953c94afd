import { type TableName, tableNameIn } from '../nft/query.ts';
import type { Nft } from './nft.ts';
import { resubscribed } from './resubscribed.ts';
import { NFNLGRP } from './subscription.ts';

/** Calls whenever another socket has changed something of the table, or may have; until it is disposed of. */
export const watchTable = ({ port: own }: Pick<Nft, 'port'>, { name }: TableName, changed: () => void): Disposable =>
  resubscribed('netfilter', [NFNLGRP.NFTABLES], {
    ignored: own,
    onMessage: ({ body }) => {
      if (tableNameIn(body) === name) changed();
    },
    onGap: changed,
  });
