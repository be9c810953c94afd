/** The page's element with this id. @throws Error where page.html has none */
export function find<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`page.html has no element ${id}`);
  return found as T;
}

/** As `find`, in a page or in a part of one. */
export type Finder = <T extends HTMLElement = HTMLElement>(id: string) => T;

/** Elements of a part of the page, whose ids begin so. */
export const findIn =
  (prefix: string): Finder =>
  id =>
    find(`${prefix}${id}`);

export function element(tag: string, className = '', attributes: Readonly<Record<string, string | number>> = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

export function withText(made: HTMLElement, text: string): HTMLElement {
  made.textContent = text;
  return made;
}

/** Writes `namespace/pod` into the holder, with its namespace fainter. */
export function named(holder: HTMLElement, name: string): HTMLElement {
  const slash = name.indexOf('/') + 1;
  holder.append(withText(element('span', 'namespace'), name.slice(0, slash)), name.slice(slash));
  return holder;
}

/** Value of a custom property of the style sheet where the element stands, as text. */
export const property = (name: string, at: Element = document.documentElement): string =>
  getComputedStyle(at).getPropertyValue(name).trim();
