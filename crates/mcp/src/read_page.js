// Reads a page as text, in the order of its document. Runs in a world of its own, so that nothing of the page's scripts is
// called or believed. `screenWidth` is in pixels of the screen, `scale` pixels of a screenshot for one of them.
(({ screenWidth, scale, max, offset }) => {
  const LONGEST = 2_000_000, MOST_NODES = 200_000, LABEL = 200, ADDRESS = 300;
  const BLOCKS = /^(block|flex|grid|table|list-item|flow-root|table-row|table-caption)$/;
  const SKIPPED = new Set(['SCRIPT', 'STYLE', 'NOSCRIPT', 'TEMPLATE', 'HEAD', 'OBJECT', 'EMBED']);
  const PRESSED = new Set(['button', 'link', 'tab', 'menuitem', 'menuitemcheckbox', 'menuitemradio', 'option', 'switch', 'treeitem', 'combobox', 'slider', 'checkbox', 'radio', 'textbox', 'searchbox']);
  // Pixels of the screen for one of the page, and for one of what the window says of itself.
  const ratio = devicePixelRatio, unit = screenWidth / screen.width || 1;
  const border = Math.max(0, (outerWidth * unit - innerWidth * ratio) / 2);
  const left = screenX * unit + border, top = screenY * unit + outerHeight * unit - innerHeight * ratio - border;

  const lines = [];
  let line = '', length = 0, nodes = 0;
  const end = () => {
    const text = line.replace(/[ \t]+/g, ' ').trim();
    line = '';
    if (text === '' || text === '-') return;
    lines.push(text);
    length += text.length + 1;
  };
  const short = (text, limit = LABEL) => {
    const plain = (text ?? '').replace(/\s+/g, ' ').trim();
    return plain.length > limit ? `${plain.slice(0, limit)}…` : plain;
  };
  const quoted = (text) => `"${short(text).replaceAll('"', '\\"')}"`;

  // Where an element can be clicked, if it can be seen.
  const place = (element, frame) => {
    const view = element.ownerDocument.defaultView;
    const root = element.getRootNode();
    for (const box of element.getClientRects()) {
      const [from, to] = [Math.max(box.left, 0), Math.min(box.right, view.innerWidth)];
      const [high, low] = [Math.max(box.top, 0), Math.min(box.bottom, view.innerHeight)];
      if (to - from < 2 || low - high < 2) continue;
      const [x, y] = [(from + to) / 2, (high + low) / 2];
      const hit = root.elementFromPoint?.(x, y);
      if (hit !== element && !element.contains(hit) && !element.shadowRoot?.contains(hit)) continue;
      if (frame.x + x < 0 || frame.y + y < 0 || frame.x + x >= innerWidth || frame.y + y >= innerHeight) continue;
      return ` @${Math.floor((left + (frame.x + x) * ratio) * scale)},${Math.floor((top + (frame.y + y) * ratio) * scale)}`;
    }
    return '';
  };
  const named = (element) => {
    const by = element.getAttribute('aria-labelledby')?.split(/\s+/).map((id) => element.getRootNode().getElementById?.(id)?.textContent).filter(Boolean).join(' ');
    return element.getAttribute('aria-label') || by || [...(element.labels ?? [])].map((label) => label.textContent).join(' ').trim()
      || element.getAttribute('placeholder') || element.getAttribute('title') || element.getAttribute('alt') || element.getAttribute('name') || '';
  };
  const address = (element) => {
    let url;
    try { url = new URL(element.href, element.baseURI); } catch { return ''; }
    if (!/^(https?|mailto|tel|ftp):$/.test(url.protocol)) return '';
    const text = url.origin === location.origin ? url.pathname + url.search + url.hash : url.href;
    return text.length > ADDRESS ? `${text.slice(0, ADDRESS)}…` : text;
  };
  const marks = (element) => {
    let text = '';
    if (element.disabled || element.getAttribute('aria-disabled') === 'true') text += ' disabled';
    for (const name of ['checked', 'selected', 'expanded', 'pressed']) if (element.getAttribute(`aria-${name}`) === 'true') text += ` ${name}`;
    if (element.ownerDocument.activeElement === element && element !== element.ownerDocument.body) text += ' focused';
    return text;
  };
  // Fields have no text of their own to read.
  const field = (element, frame) => {
    const kind = element.tagName === 'INPUT' ? element.type : element.tagName.toLowerCase();
    const tail = `${marks(element)}${element.required ? ' required' : ''}]${place(element, frame)} `;
    const label = quoted(named(element));
    if (kind === 'hidden') return '';
    if (kind === 'checkbox' || kind === 'radio') return `[${kind} ${element.checked ? 'on' : 'off'} ${label}${tail}`;
    if (kind === 'submit' || kind === 'button' || kind === 'reset' || kind === 'image') return `[button ${quoted(element.value || named(element))}${tail}`;
    if (kind === 'select') {
      const all = [...element.options].map((option) => short(option.label, 60));
      const more = all.length > 20 ? ` … ${all.length - 20} more` : '';
      const chosen = [...element.selectedOptions].map((option) => option.label).join(', ');
      return `[select ${label} = ${quoted(chosen)} of ${all.slice(0, 20).join(' | ')}${more}${tail}`;
    }
    // Nobody is to read what is hidden from people.
    const value = kind === 'password' ? '•'.repeat(Math.min(element.value.length, 8)) : element.value;
    return `[field${kind === 'text' || kind === 'textarea' ? '' : ` ${kind}`} ${label} = ${quoted(value)}${tail}`;
  };

  const walk = (node, frame) => {
    nodes += 1;
    if (length > LONGEST || nodes > MOST_NODES) return;
    if (node.nodeType === Node.TEXT_NODE) {
      const parent = node.parentElement;
      if (parent && !parent.checkVisibility({ visibilityProperty: true })) return;
      const isKept = parent && /^pre/.test(getComputedStyle(parent).whiteSpace);
      if (!isKept) line += node.data.replace(/\s+/g, ' ');
      else node.data.split('\n').forEach((part, at) => { if (at > 0) end(); line += part; });
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    const element = node, tag = element.tagName;
    if (SKIPPED.has(tag) || element.namespaceURI !== 'http://www.w3.org/1999/xhtml') return;
    const style = getComputedStyle(element);
    if (style.display === 'none' || (style.display !== 'contents' && !element.checkVisibility())) return;
    const isSeen = style.visibility === 'visible';
    const isBlock = BLOCKS.test(style.display);
    if (tag === 'BR') return end();
    if (tag === 'HR') { end(); line = '---'; return end(); }
    if (tag === 'IMG') { if (isSeen && element.alt) line += ` ![${short(element.alt)}] `; return; }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(tag)) { if (isSeen) line += field(element, frame); return; }
    if (tag === 'IFRAME' || tag === 'FRAME') {
      end();
      let inner = null;
      try { inner = element.contentDocument; } catch { /* of another origin */ }
      const box = element.getBoundingClientRect();
      if (inner?.body) walk(inner.body, { x: frame.x + box.left + element.clientLeft, y: frame.y + box.top + element.clientTop });
      else if (element.src) { line = `[frame ${quoted(element.title)} ${short(element.src, ADDRESS)}]${place(element, frame)}`; }
      return end();
    }
    if (isBlock) end();
    if (/^H[1-6]$/.test(tag)) line += `${'#'.repeat(Number(tag[1]))} `;
    if (tag === 'LI') line += '- ';
    if (/^(TD|TH)$/.test(tag) && line.trim()) line += ' | ';
    const role = (element.getAttribute('role') ?? '').toLowerCase();
    const isLink = tag === 'A' && element.hasAttribute('href');
    const isButton = tag === 'BUTTON' || tag === 'SUMMARY' || PRESSED.has(role) || element.isContentEditable && !element.parentElement?.isContentEditable;
    const children = () => {
      const inside = element.shadowRoot?.childNodes ?? (tag === 'SLOT' && element.assignedNodes().length ? element.assignedNodes() : element.childNodes);
      for (const child of inside) walk(child, frame);
    };
    if (isSeen && (isLink || isButton)) {
      // What is inside is its name; where that has blocks, they stay on its line.
      const [outer, before] = [line, lines.length];
      line = '';
      children();
      end();
      const inner = lines.splice(before);
      length -= inner.reduce((sum, text) => sum + text.length + 1, 0);
      const name = inner.join(' ').trim() || short(named(element));
      const kind = isLink ? '' : PRESSED.has(role) ? `${role} ` : element.isContentEditable ? 'field ' : 'button ';
      if (isLink) line = name || address(element) ? `${outer}[${name}](${address(element)})${marks(element)}${place(element, frame)} ` : outer;
      else line = `${outer}[${kind}${quoted(name)}${marks(element)}]${place(element, frame)} `;
    } else {
      children();
    }
    if (isBlock) end();
  };
  if (document.body) {
    try { walk(document.body, { x: 0, y: 0 }); } catch (error) { end(); lines.push(`(the rest cannot be read: ${error.message})`); }
  }
  end();
  const all = lines.join('\n');
  const text = all.slice(offset, offset + max);
  const page = document.scrollingElement ?? document.documentElement;
  return {
    url: location.href, title: document.title, state: document.readyState, text, length: text.length, total: all.length,
    above: Math.round(page?.scrollTop ?? 0), height: page?.scrollHeight ?? 0, shown: innerHeight,
  };
})
