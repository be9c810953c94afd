/** The CustomResourceDefinition of ClusterNetworkPolicy, as upstream made it. */
import { readConf } from '../conf.ts';

/** Rules in CEL, which API servers before 1.31 know nothing of. */
const CEL = 'x-kubernetes-validations';

const withoutCel = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withoutCel);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key]) => key !== CEL);
  return Object.fromEntries(kept.map(([key, each]) => [key, withoutCel(each)]));
};

/** @param cel whether its rules in CEL stay; without them `tollgate policy lint` tells what they would refuse */
export async function clusterPolicyDefinition(cel: boolean): Promise<string> {
  const text = readConf('network-policy-api/clusternetworkpolicies.yaml');
  if (cel) return text;
  const { parse, stringify } = await import('yaml');
  return stringify(withoutCel(parse(text)), { lineWidth: 0 });
}
