/** What the plugin costs, as bars. */
import type { Bar, Panel } from './picture.ts';
import type { Row } from './report.ts';

export const pluginLabel = 'tollgate beside ptp and bridge: bars of medians';

/** Bars that some row tells of; those of rows that were not measured are left out. */
export function pluginPanels(rows: readonly Row[]): readonly Panel[] {
  const row = (what: string, against: string) => rows.find(each => each.what === what && each.against === against);
  const own = (name: string, kind: Bar['kind'], found: Row | undefined): Bar[] =>
    found ? [{ name, kind, value: found.value }] : [];
  const their = (name: string, found: Row | undefined): Bar[] =>
    found?.reference === undefined ? [] : [{ name, kind: 'theirs', value: found.reference }];
  const panel = (title: string, what: string, alone: string): Panel => ({
    title,
    bars: [
      ...own('tollgate: launcher and worker', 'ours', row(what, 'ptp')),
      ...own('tollgate: executable alone', 'alone', row(alone, 'bridge ipMasq') ?? row(alone, 'ptp')),
      ...their('ptp', row(what, 'ptp')),
      ...their('bridge with ipMasq', row(what, 'bridge ipMasq')),
    ],
  });
  return [
    panel('ADD, milliseconds', 'ADD', 'ADD by the executable alone, a Node process'),
    panel('DEL, milliseconds', 'DEL', 'DEL by the executable alone'),
    panel('50 ADDs, 16 at once, milliseconds', '50 ADDs, 16 at once', ''),
    panel('200 ADDs at once, megabytes', '200 ADDs at once: peak memory of all processes', ''),
  ].filter(({ bars }) => bars.length > 1);
}
