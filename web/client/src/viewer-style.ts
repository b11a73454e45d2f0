/** The viewer brings its styles along, so that it needs nothing of the page around it. */
export const styles = `
.gh-viewer{position:relative;width:100%;height:100%;overflow:hidden;touch-action:none;user-select:none;-webkit-user-select:none;-webkit-touch-callout:none;outline:none}
.gh-viewer video,.gh-viewer>canvas{position:absolute;display:block;object-fit:fill;max-width:none}
.gh-viewer [hidden]{display:none}
.gh-viewer .gh-sharp{image-rendering:pixelated}
.gh-viewer audio{display:none}
.gh-text{position:absolute;left:0;bottom:0;width:1px;height:1em;padding:0;border:0;margin:0;opacity:0;resize:none;overflow:hidden;font-size:16px;pointer-events:none;caret-color:transparent}
.gh-pointers{position:absolute;inset:0;overflow:hidden;pointer-events:none}
.gh-pointer{position:absolute;left:-1px;top:-1px;will-change:transform;transition:transform 60ms linear}
.gh-pointer svg{display:block}
.gh-pointer span{position:absolute;left:13px;top:15px;color:#fff;font:600 11px/1.3 system-ui,sans-serif;padding:1px 6px;border-radius:8px;white-space:nowrap;max-width:12em;overflow:hidden;text-overflow:ellipsis}
@media (prefers-reduced-motion:reduce){.gh-pointer{transition:none}}
`;
