// What the benchmark prints: one table of promises, filled by the parts.

const rows = [];

/**
 * Notes a number. `promise`: text of what was promised, or '' for information; `kept`: true, false or null (nothing promised).
 */
export function note(part, what, value, promise = '', kept = null) {
  rows.push({ part, what, value, promise, kept });
  console.log(`  ${kept === null ? ' ' : kept ? '✓' : '✗'} ${part}: ${what}: ${value}${promise ? `   (promised: ${promise})` : ''}`);
}

export const noted = () => rows;

/** The table as aligned text. */
export function table() {
  const cells = [['', 'what', 'measured', 'promised'], ...rows.map((r) => [r.kept === null ? '' : r.kept ? '✓' : '✗', `${r.part}: ${r.what}`, r.value, r.promise])];
  const widths = [0, 1, 2, 3].map((i) => Math.max(...cells.map((c) => c[i].length)));
  return cells.map((c) => c.map((text, i) => text.padEnd(widths[i])).join('  ').trimEnd()).join('\n');
}

export const fixed = (n, digits = 1) => (n === null || Number.isNaN(n) ? '-' : n.toFixed(digits));
export const kilobytes = (n) => `${(n / 1000).toFixed(0)} kB`;
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
