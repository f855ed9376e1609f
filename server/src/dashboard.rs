//! The dashboard: the files of web/dist, which are part of the program. They hold nothing of the database, so that they need no key; what the
//! page shows it asks for itself, with one.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::{
    cache::etag,
    history::{has_already, not_modified, tag},
};

/// Where the dashboard begins.
const PAGE: &str = "index.html";
/// The names of these files change with what is in them.
const HASHED: &str = "assets/";
/// What the dashboard may load: what comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
                      manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Files;

/// A path for each file.
pub(crate) fn routes() -> Router {
    let files = Files::iter().filter_map(|name| Some((Files::get(&name)?, name)));
    files.fold(Router::new(), |router, (file, name)| {
        let served = Arc::new(Served::new(&name, file));
        let path = if name == PAGE { "/".to_owned() } else { format!("/{name}") };
        router.route(&path, get(move |headers: HeaderMap| async move { served.answer(&headers) }))
    })
}

/// Whether a request only reads one of the files.
pub(crate) fn is_asked_for(method: &Method, path: &str) -> bool {
    let name = path.strip_prefix('/').filter(|name| !name.is_empty()).unwrap_or(PAGE);
    matches!(*method, Method::GET | Method::HEAD) && Files::get(name).is_some()
}

/// A file as it is sent.
struct Served {
    body: Bytes,
    etag: String,
    media_type: HeaderValue,
    cache_control: HeaderValue,
}

impl Served {
    fn new(name: &str, file: EmbeddedFile) -> Served {
        let media_type = HeaderValue::from_str(file.metadata.mimetype());
        let kept = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let body = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        Served {
            etag: etag(&body),
            media_type: media_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
            cache_control: HeaderValue::from_static(kept),
            body,
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = if has_already(headers, &self.etag) {
            not_modified(&self.etag)
        } else {
            let mut response = self.body.clone().into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, self.media_type.clone());
            tag(&mut response, &self.etag);
            response
        };
        response.headers_mut().insert(header::CACHE_CONTROL, self.cache_control.clone());
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}
