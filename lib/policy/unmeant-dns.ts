/** Pods that may go out, but cannot ask where to. */
import { isNumbered, type NetworkPolicy, type Pod, type Port, type Protocol, type Rule } from './model.ts';
import { selectorText, selects } from './selector.ts';
import type { Case, Check } from './unmeant.ts';

/** A name is as good as 53 where some pod has it for 53, or nobody known has it at all. */
function isDns({ pods }: Case, port: Port, protocol: Protocol): boolean {
  if (port.protocol !== protocol) return false;
  if (isNumbered(port)) return port.first <= 53 && 53 <= port.last;
  const known = pods.flatMap(({ namedPorts }) => namedPorts).filter(({ name }) => name === port.name);
  return known.length === 0
    ? port.name.includes('dns')
    : known.some(each => each.port === 53 && each.protocol === protocol);
}

const allowsDns = (it: Case, { peers, ports }: Rule, protocol: Protocol): boolean =>
  peers.length !== 0 && (ports === 'any' || ports.some(port => isDns(it, port, protocol)));

const egressOf = (policies: readonly NetworkPolicy[]): readonly Rule[] =>
  policies.flatMap(({ egress }) => egress ?? []);

/** For each kind of pod that the policy selects, all rules that let it out. */
function rulesOfSubjects({ policy, subjects, world }: Case): readonly (readonly Rule[])[] {
  const own = world.policies.filter(({ namespace }) => namespace === policy.namespace);
  if (subjects.length > 0)
    return subjects.map(({ labels }: Pod) => egressOf(own.filter(({ subject }) => selects(subject, labels))));
  const text = selectorText(policy.subject);
  return [egressOf(own.filter(({ subject }) => ['', text].includes(selectorText(subject))))];
}

export const dnsCutOff: Check = it => {
  // Whom no rule lets out at all, nobody expects to ask for names.
  if (!it.policy.egress?.some(({ peers, ports }) => peers.length !== 0 && ports.length !== 0)) return;
  const missing = (['UDP', 'TCP'] as const).filter(protocol =>
    rulesOfSubjects(it).some(rules => !rules.some(rule => allowsDns(it, rule, protocol))),
  );
  if (missing.length === 0) return;
  const what = missing.map(protocol => `${protocol} 53`).join(' and ');
  const follows = missing.includes('UDP')
    ? 'names cannot be looked up'
    : 'answers that are too long for one datagram cannot be had';
  const ports = missing.map(protocol => `{ protocol: ${protocol}, port: 53 }`).join(', ');
  it.report(
    'spec.egress',
    `No egress rule of its pods allows ${what}, so ${follows}: add a rule with ports: [${ports}]`,
  );
};
