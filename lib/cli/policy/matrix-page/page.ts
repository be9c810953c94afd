import type { PackedMatrix } from '../../../policy/evaluate/matrix-packed.ts';
import { find } from './elements.ts';
import { installTheme } from './theme.ts';
import { MatrixView } from './view.ts';

const data = JSON.parse(find('data').textContent ?? '') as PackedMatrix;
const view = new MatrixView(find, data);
document.title = data.title;
find('title').textContent = data.title;
document.addEventListener('keydown', event => {
  const isTyping = event.target instanceof Element && event.target.matches('input, select');
  if (event.key !== '/' || isTyping) return;
  event.preventDefault();
  view.search();
});
installTheme(() => view.redraw());
