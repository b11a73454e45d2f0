/** A colour of a member's own, from the id, so that everyone sees the same one. Dark enough for white text (contrast ≥ 4.5). */
export function colour(id: string): string {
  let hash = 2166136261;
  for (const character of id) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16777619);
  hash ^= hash >>> 15;
  const hue = (hash >>> 0) % 360;
  // Green and yellow look lighter than blue at the same lightness.
  const lightness = hue > 15 && hue < 210 ? 27 : 38;
  return `hsl(${hue} 65% ${lightness}%)`;
}
