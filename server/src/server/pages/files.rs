//! The files of the built dashboard, with all that an answer needs made beforehand.
//!
//! Names under `assets/` carry a digest of their content, so that a browser may keep them for ever;
//! everything else is asked for anew and answered with 304 while it is the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::{EmbeddedFile, RustEmbed};

/// Built by `make dashboard`; a check holds that it is what the sources give.
#[derive(RustEmbed)]
#[folder = "../client/web/dist"]
struct Dist;

/// One file, ready to be sent.
#[derive(Debug)]
pub(super) struct File {
    plain: Bytes,
    gzipped: Bytes,
    kind: &'static str,
    caching: &'static str,
    etag: HeaderValue,
}

/// All files by their path, as in `index.html`.
pub(super) fn all() -> BTreeMap<String, Arc<File>> {
    Dist::iter()
        .filter_map(|path| {
            let file = File::new(&path, Dist::get(&path)?);
            Some((path.into_owned(), Arc::new(file)))
        })
        .collect()
}

impl File {
    fn new(path: &str, file: EmbeddedFile) -> Self {
        let digest = hex::encode(file.metadata.sha256_hash());
        let plain = match file.data {
            Cow::Borrowed(data) => Bytes::from_static(data),
            Cow::Owned(data) => data.into(),
        };
        Self {
            gzipped: gzip(&plain),
            plain,
            kind: kind(path),
            caching: if path.starts_with("assets/") {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            },
            etag: HeaderValue::try_from(format!("\"{}\"", &digest[..32]))
                .expect("hexadecimal digits in quotes are a header value"),
        }
    }

    /// The file, compressed where that is understood; or that it is the same as before.
    pub(super) fn answer(&self, headers: &HeaderMap) -> axum::response::Response {
        let common: [(HeaderName, HeaderValue); 3] = [
            (header::CACHE_CONTROL, HeaderValue::from_static(self.caching)),
            (header::ETAG, self.etag.clone()),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if lists(headers, &header::IF_NONE_MATCH, self.etag.to_str().unwrap_or_default()) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if lists(headers, &header::ACCEPT_ENCODING, "gzip") {
            let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return (common, [kind, encoding], self.gzipped.clone()).into_response();
        }
        (common, [kind], self.plain.clone()).into_response()
    }

    #[cfg(test)]
    pub(super) fn gzipped_len(&self) -> usize {
        self.gzipped.len()
    }
}

/// Whether a header with a list of values has this one. What comes after a `;` is no part of a
/// value.
fn lists(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    let all = headers.get_all(name);
    all.iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).any(|one| {
        let (one, weight) = one.split_once(';').unwrap_or((one, ""));
        one.trim().trim_start_matches("W/") == value && weight.replace(' ', "") != "q=0"
    })
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::best());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("memory takes all that is written").into()
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
