//! What a person sees instead of a refused page.

/// A whole HTTP response with a plain explanation.
pub(super) fn response(status: &str, title: &str, reason: &str) -> Vec<u8> {
    let reason = escape(reason);
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}}</style>\
         <h1>{title}</h1><p>{reason}.</p><p>This browser runs in an isolated session. \
         What it can reach is decided where it runs.</p></html>\n"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\nX-Glasshouse-Reason: {}\r\n\r\n{body}",
        body.len(),
        reason.replace(|byte: char| !byte.is_ascii() || byte.is_ascii_control(), "?"),
    )
    .into_bytes()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
