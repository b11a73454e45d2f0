export { GlasshouseViewer, type GlasshouseViewerProps } from './viewer.tsx';
export { useRoom, useStatus } from './hooks.ts';
