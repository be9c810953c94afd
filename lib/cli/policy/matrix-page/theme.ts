/** The button that changes the colours: by the system, light, dark. The choice is kept where the browser lets a file keep any. */
import { find } from './elements.ts';

const themes: Readonly<Record<string, readonly [sign: string, words: string]>> = {
  '': ['◐', 'as the system has them'],
  light: ['☀', 'light'],
  dark: ['☾', 'dark'],
};

function readChoice(): string {
  try {
    const choice = localStorage.getItem('theme') ?? '';
    return Object.hasOwn(themes, choice) ? choice : '';
  } catch {
    return '';
  }
}

function writeChoice(theme: string): void {
  try {
    localStorage.setItem('theme', theme);
  } catch {}
}

function dress(theme: string): void {
  const { dataset } = document.documentElement;
  if (theme === '') delete dataset['theme'];
  else dataset['theme'] = theme;
  const [sign, words] = themes[theme]!;
  find('theme').textContent = sign;
  find('theme').setAttribute('aria-label', `Colours: ${words}`);
}

/** @param changed called after each change of the colours, by the button or by the system */
export function installTheme(changed: () => void): void {
  dress(readChoice());
  find('theme').addEventListener('click', () => {
    const order = Object.keys(themes);
    const current = document.documentElement.dataset['theme'] ?? '';
    const next = order[(order.indexOf(current) + 1) % order.length]!;
    writeChoice(next);
    dress(next);
    changed();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
}
