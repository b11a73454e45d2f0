export { Api, ApiError } from './api.ts';
export { Clipboard } from './clipboard.ts';
export { colour } from './colour.ts';
export { Connection, type ConnectionEvents, type ConnectionOptions, type Status, type VideoChoice, takeToken } from './connection.ts';
export type { Rect, Scaling, Size } from './geometry.ts';
export { Player, type PlayerStats } from './player.ts';
export type * from './protocol.ts';
export { type Room, isAdmin, isHost, mayHost, self, takesControlByUse } from './room.ts';
export { Viewer, type ViewerEvents } from './viewer.ts';
