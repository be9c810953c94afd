import type { PackedMatrix } from '../../../policy/evaluate/matrix-packed.ts';
import { find } from './elements.ts';
import { installTheme } from './theme.ts';
import { MatrixView } from './view.ts';

const data = JSON.parse(find('data').textContent ?? '') as PackedMatrix;
const view = new MatrixView(find, data);
const service = `${data.port}/${data.protocol}`;
document.title = `Who may open ${service} to whom`;
find('port').textContent = service;
document.addEventListener('keydown', event => {
  const isTyping = event.target instanceof Element && event.target.matches('input, select');
  if (event.key !== '/' || isTyping) return;
  event.preventDefault();
  view.search();
});
installTheme(() => view.redraw());
