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
.gh-label{position:absolute;left:13px;top:15px;display:flex;align-items:center;gap:3px;color:#fff;font:600 11px/1.3 system-ui,sans-serif;padding:1px 6px;border-radius:8px;white-space:nowrap;max-width:14em}
.gh-name{overflow:hidden;text-overflow:ellipsis}
.gh-label .gh-robot{flex:none;width:12px;height:12px;fill:none;stroke:currentColor;stroke-width:2.2;stroke-linecap:round;stroke-linejoin:round}
.gh-keys{display:none;gap:2px;align-items:center;padding-left:2px}
.gh-typing .gh-keys{display:flex}
.gh-keys i{width:3px;height:3px;border-radius:50%;background:currentColor;animation:gh-key .9s infinite ease-in-out}
.gh-keys i:nth-child(2){animation-delay:.15s}
.gh-keys i:nth-child(3){animation-delay:.3s}
.gh-ripple{position:absolute;width:36px;height:36px;margin:-18px;border:3px solid currentColor;border-radius:50%;box-shadow:0 0 0 1px #fffc,inset 0 0 0 1px #fffc;opacity:0;animation:gh-ripple .6s ease-out}
@keyframes gh-ripple{from{transform:scale(.15);opacity:1}to{transform:scale(1);opacity:0}}
@keyframes gh-key{0%,60%,100%{opacity:.35}30%{opacity:1}}
@media (prefers-reduced-motion:reduce){.gh-pointer{transition:none}.gh-ripple{animation:gh-still .6s}.gh-keys i{animation:none}}
@keyframes gh-still{from{opacity:1}to{opacity:1}}
`;
