/** Networks of cluster policies that mean less than they seem to. */
import {
  type Family,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixContains,
  rangeContains,
  rangeOf,
} from '../../ip/address.ts';
import { isMapping } from '../manifest/field.ts';
import type { Document } from '../manifest/manifest.ts';
import type { ClusterRule } from '../model/cluster-policy.ts';
import type { BlockPeer } from '../model/model.ts';
import { type ClusterCheck, coversSubject, fieldOf, peersOf } from './cluster-rule.ts';

const everywhere: Readonly<Record<Family, string>> = { 4: '0.0.0.0/0', 6: '::/0' };
const isBlock = (peer: { readonly kind: string }): peer is BlockPeer => peer.kind === 'block';

/** The families of which the rule names all addresses. */
const wholeFamilies = (rule: ClusterRule): ReadonlySet<Family> =>
  new Set(
    peersOf(rule)
      .filter(isBlock)
      .filter(({ cidr }) => cidr.length === 0)
      .map(({ cidr }) => cidr.family),
  );

/** Reports a rule that names all addresses of one family, where no rule for the same pods does so with those of the other. */
export const oneFamilyAlone: ClusterCheck = ({ policy, cluster, report }) => {
  const alike = cluster.clusterPolicies(policy.tier).filter(other => coversSubject(other, policy));
  for (const rule of policy.egress) {
    const families = wholeFamilies(rule);
    const [only] = families;
    if (families.size !== 1 || only === undefined) continue;
    const other = only === 4 ? 6 : 4;
    const isElsewhere = alike.some(({ egress }) =>
      egress.some(each => each.action === rule.action && wholeFamilies(each).has(other)),
    );
    if (isElsewhere) continue;
    const says = rule.action === 'Deny' ? 'so all of that passes it' : 'so none of that is meant';
    report(
      `${fieldOf('egress', rule)}.to`,
      `${everywhere[only]} says nothing of IPv${other}, ${says}: add "${everywhere[other]}" if you mean all addresses`,
    );
  }
};

/** Default ranges of Services: of kubeadm and kind, k3s, EKS, microk8s. */
const usual = ['10.96.0.0/12', '10.43.0.0/16', '172.20.0.0/16', '10.100.0.0/16', '10.152.183.0/24', 'fd00:10:96::/112'];
const usualRanges = usual.map(text => parsePrefix(text)!);

/** Addresses of Services that the documents declare. */
function serviceAddresses(documents: readonly Document[]): readonly string[] {
  const objects = documents.flatMap(({ value }) =>
    isMapping(value) && Array.isArray(value['items']) ? (value['items'] as readonly unknown[]) : [value],
  );
  return objects.flatMap((object): readonly string[] => {
    if (!isMapping(object) || object['kind'] !== 'Service' || !isMapping(object['spec'])) return [];
    const { clusterIP, clusterIPs } = object['spec'];
    return [clusterIP, ...(Array.isArray(clusterIPs) ? clusterIPs : [])].filter(each => typeof each === 'string');
  });
}

const isWithin = (inner: Prefix, outer: Prefix): boolean =>
  inner.length >= outer.length && rangeContains(rangeOf(outer), { family: inner.family, value: rangeOf(inner).first });

/** Networks of Services: policies see the pod behind a Service, and never its address. */
export function serviceRanges(documents: readonly Document[]): ClusterCheck {
  const services = serviceAddresses(documents).flatMap(text => parseAddress(text) ?? []);
  return ({ policy, pods, report }) => {
    const addresses = pods.flatMap(pod => pod.addresses.flatMap(text => parseAddress(text) ?? []));
    for (const rule of policy.egress)
      for (const { cidr } of peersOf(rule).filter(isBlock)) {
        const isUsual = usualRanges.some(range => range.family === cidr.family && isWithin(cidr, range));
        const isKnown = services.some(address => prefixContains(cidr, address));
        if (!isUsual && !isKnown) continue;
        // A network in which pods are means these.
        if (cidr.length === 0 || addresses.some(address => prefixContains(cidr, address))) continue;
        report(
          `${fieldOf('egress', rule)}.to`,
          `${formatPrefix(cidr)} is a network of Services${isKnown ? '' : ' in many clusters'}: policies see the pod behind a Service and never its address, so this matches nothing of it: select the pods`,
        );
      }
  };
}
