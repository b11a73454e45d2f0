/** Numbers and times as people read them, in few characters. */

const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** `340 MB`, `1.2 GB`. */
export function bytes(value: number): string {
  let unit = 0;
  let number = value;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit++;
  }
  return `${unit > 0 && number < 9.95 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

/** Bytes a second as `1.2 Mbit/s`. */
export function bitRate(bytesPerSecond: number): string {
  const kilobits = (bytesPerSecond * 8) / 1000;
  if (kilobits < 0.5) return '0';
  return kilobits < 999.5 ? `${Math.round(kilobits)} kbit/s` : `${(kilobits / 1000).toFixed(kilobits < 9950 ? 1 : 0)} Mbit/s`;
}

/** Share of one processor, `12 %`. */
export const percent = (share: number): string => `${share > 0 && share < 0.095 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;

/** `45 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

/** What to call a session: its name, else where it began, else the beginning of its id. */
export function title(session: { id: string; name: string | null; url: string | null }): string {
  if (session.name) return session.name;
  if (session.url && session.url !== 'about:blank') {
    try {
      return new URL(session.url).host;
    } catch {
      return session.url;
    }
  }
  return session.id.slice(0, 8);
}
