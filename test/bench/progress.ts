/**
 * What is being measured, with the seconds since the start: a line of stderr where that
 * is a terminal, and nothing in a log or pipe.
 */
export const sayer =
  (part: string) =>
  (progress: string): void => {
    const seconds = (performance.now() / 1000).toFixed(0).padStart(4);
    if (process.stderr.isTTY) console.error(`${seconds} s ${part}: ${progress}`);
  };
