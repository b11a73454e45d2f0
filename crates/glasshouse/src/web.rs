//! The web page, embedded in the program.

use axum::{
    body::Body,
    http::{HeaderValue, Method, Response, StatusCode, Uri, header},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/web"]
struct Page;

/// Nothing from elsewhere, no inline script. React sets styles through the DOM, which this allows.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
                      object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'";

/// Answers a request for a file of the page.
pub(crate) async fn serve(method: Method, uri: Uri) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD work here\n");
    }
    let path = uri.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = Page::get(path) else {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    // Vite puts a hash of the content into the names under assets/.
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::new(Body::from(file.data));
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(file.metadata.mimetype()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn page_is_served_with_a_policy() {
        let response = serve(Method::GET, Uri::from_static("/")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        assert!(!response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("script-src 'unsafe"));
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        for path in ["/../Cargo.toml", "/assets", "/%2e%2e/Cargo.toml", "/api"] {
            assert_eq!(serve(Method::GET, path.parse().unwrap()).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(serve(Method::POST, Uri::from_static("/")).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
