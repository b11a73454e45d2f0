import { resolve } from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// A relative base lets the same files work at `/`, under a path prefix and at `/s/{id}/`.
export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    target: 'es2022',
    // Data URLs would need `data:` in the page's content security policy for every kind of asset.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: { room: resolve(import.meta.dirname, 'index.html'), console: resolve(import.meta.dirname, 'console.html') } },
  },
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8080', ws: true } } },
});
