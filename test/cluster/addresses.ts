/** Addresses of the link that all machines of the cluster share, and of what is in it; both families. */

/** Of a machine on the link. */
export interface Place {
  readonly v4: string;
  readonly v6: string;
}

const placeOf = (number: number): Place => ({ v4: `192.0.2.${number}`, v6: `2001:db8::${number}` });

/** The control plane, which is also the nodes' way to everywhere. */
export const control = placeOf(1);
export const nodePlace = (number: number): Place => placeOf(10 + number);
/** A machine that is no node. */
export const outside = placeOf(100);

export const linkPrefix = { v4: 24, v6: 64 } as const;
export const pods = { v4: '10.244.0.0/16', v6: 'fd00:10:244::/56' } as const;
export const services = { v4: '10.96.0.0/16', v6: 'fd00:10:96::/112' } as const;
/** The first address of `services`: kubernetes.default. */
export const apiService = '10.96.0.1';
export const dnsService = '10.96.0.10';
