/** Lines of `tollgate flows --denied`, for a person and for a script. */
import type { DeniedFlow, DeniedSum } from '../../controller/flow-denials.ts';
import { print, printLines } from '../command.ts';

export const clock = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(11, 23);
export const endText = (name: string, address: string): string => (name === address ? address : `${name} (${address})`);
const because = (by: readonly string[]): string =>
  by.length === 0 ? 'the gate does not know its tag' : `denied by ${by.join(', ')}`;

function flowText(flow: DeniedFlow): string {
  const port = flow.port === null ? '' : ` ${flow.port}`;
  const ends = `${endText(flow.from, flow.source)} → ${endText(flow.to, flow.destination)}`;
  return `${clock(flow.time)}  ${ends}${port}/${flow.protocol}  ${flow.direction} ${flow.rule === undefined ? because(flow.by) : because([flow.rule])}`;
}

export const sumText = ({ time, packets, direction, by }: DeniedSum): string =>
  `${clock(time)}  and ${packets} more ${packets === 1 ? 'packet' : 'packets'}  ${direction} ${because(by)}`;

export interface PrintedDenials {
  readonly flow: (flow: DeniedFlow) => void;
  readonly sum: (sum: DeniedSum) => void;
}

/** By the format of the output. */
export const denialPrinters: Readonly<Record<string, PrintedDenials>> = {
  text: { flow: flow => printLines([flowText(flow)]), sum: sum => printLines([sumText(sum)]) },
  json: {
    flow: flow => print(JSON.stringify({ kind: 'flow', ...flow })),
    sum: sum => print(JSON.stringify({ kind: 'sum', ...sum })),
  },
};
