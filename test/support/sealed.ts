/** The value in a sealed file, or in one of before files were sealed. */
export const valueIn = (text: string): unknown => JSON.parse(text.replace(/^[0-9a-f]{8} /, ''));
