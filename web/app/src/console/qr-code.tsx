import qrcode from 'qrcode-generator';
import { type ReactElement, useMemo } from 'react';

/** Empty modules around a code, as ISO/IEC 18004 wants them. */
const QUIET = 4;

/** A QR code of a text, dark on light in every theme, so that every camera reads it. */
export default function QrCode({ text, label }: { text: string; label: string }): ReactElement {
  const { size, path } = useMemo(() => {
    const code = qrcode(0, 'M');
    code.addData(text);
    code.make();
    const count = code.getModuleCount();
    let drawn = '';
    for (let y = 0; y < count; y++) {
      for (let x = 0; x < count; x++) if (code.isDark(y, x)) drawn += `M${x + QUIET} ${y + QUIET}h1v1h-1z`;
    }
    return { size: count + 2 * QUIET, path: drawn };
  }, [text]);
  return (
    <svg className="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  );
}
