import type { ReactElement } from 'react';

const paths = {
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7Zm-6 8c0-3.3 2.7-5.5 6-5.5s6 2.2 6 5.5M16 4.4a3.3 3.3 0 0 1 0 6.2M17.5 14c2.2.7 3.5 2.5 3.5 5',
  settings: 'M4 7h9m4 0h3M4 17h3m4 0h9M15 4.5v5M9 14.5v5',
  chat: 'M4 5h16v11H10l-4 3.5V16H4z',
  clipboard: 'M8 5H5v15h14V5h-3M8 3.5h8v4H8z',
  keyboard: 'M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M18 10h.01M7 14h10',
  expand: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
  sound: 'M4 9.5v5h3.5L12 18V6L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11',
  muted: 'M4 9.5v5h3.5L12 18V6L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5',
  chart: 'M4 20V4M4 20h16M8 16v-4M12 16V8M16 16v-6',
  hand: 'M6 3l12 9-5.5 1L9.5 18z',
  close: 'M6 6l12 12M18 6L6 18',
  share: 'M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-5.700-5.700l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 5.700 5.700l1-1',
  robot: 'M5 9h14v10H5zM12 9V5M9 13.500v1M15 13.500v1M2.500 12.500v3M21.500 12.500v3',
  grid: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
  help: 'M12 15v-.8c0-1.500 2.700-2.300 2.700-4.700a2.700 2.700 0 0 0-5.400 0M12 18.500h.010',
  eye: 'M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12ZM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z',
  search: 'M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13ZM15.500 15.500 20 20',
  plus: 'M12 5v14M5 12h14',
  leave: 'M10 4H5v16h5M14 8l4 4-4 4M18 12H9',
  freeze: 'M12 3v18M4.200 7.500l15.600 9M19.800 7.500l-15.600 9M9.500 4.500 12 7l2.500-2.500M9.500 19.500 12 17l2.500 2.500',
  play: 'M7 4.500v15l12-7.500z',
  trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5',
  pin: 'M9 4h6l-1 6 3 3H7l3-3zM12 13v7',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }): ReactElement {
  return (
    <svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" strokeWidth="1.7" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}

export function Mark(): ReactElement {
  return (
    <svg className="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <path d="M16 3 28 11v17H4V11z" fill="var(--accent)" />
      <path d="M16 3v25M4 11h24M4 19.5h24M10 7v21M22 7v21" stroke="#fff" strokeOpacity=".75" strokeWidth="1.4" fill="none" />
    </svg>
  );
}
