/** How many letters must be changed, added, dropped or swapped with their neighbour to turn one word into the other. */
export function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const isSame = from[i - 1] === to[j - 1];
      const isSwapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      row[j] = Math.min(
        above[j]! + 1,
        row[j - 1]! + 1,
        above[j - 1]! + (isSame ? 0 : 1),
        isSwapped ? before[j - 2]! + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = above;
    above = row;
  }
  return above[to.length]!;
}

/**
 * The known key that an unknown one was probably meant to be: one slip in a short word, two in a longer one.
 * Undefined where the key is known (in any case of letters) or like none.
 */
export function meantKey(key: string, known: readonly string[]): string | undefined {
  const folded = key.toLowerCase();
  if (known.some(word => word.toLowerCase() === folded)) return undefined;
  return known
    .filter(word => Math.abs(word.length - key.length) <= 2)
    .map(word => ({ word, distance: editDistance(folded, word.toLowerCase()) }))
    .filter(({ word, distance }) => distance <= (word.length < 6 ? 1 : 2))
    .sort((a, b) => a.distance - b.distance)[0]?.word;
}
