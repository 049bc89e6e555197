use std::io::Read as _;

use super::*;

/// Most bytes that the first page may be, compressed: document, scripts and styles that it names.
const MOST_FIRST_BYTES: usize = 150 * 1024;

async fn ask(path: &str, headers: &[(header::HeaderName, &str)]) -> Response<axum::body::Body> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(axum::body::Body::empty()).expect("a request");
    router().oneshot(request).await.expect("it answers")
}

async fn bytes(response: Response<axum::body::Body>) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), 4 << 20).await.expect("a body").to_vec()
}

async fn page(path: &str) -> (StatusCode, HeaderMap, String) {
    let response = ask(path, &[]).await;
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, String::from_utf8(bytes(response).await).expect("text"))
}

/// The values of `src` and `href` in the document.
fn named(document: &str) -> Vec<String> {
    ["src=\"", "href=\""]
        .into_iter()
        .flat_map(|before| document.split(before).skip(1))
        .filter_map(|rest| rest.split_once('"'))
        .map(|(path, _)| path.to_owned())
        .collect()
}

#[tokio::test]
async fn every_page_of_the_dashboard_is_one_document_that_runs_nothing_inline() {
    let (_, _, first) = page("/").await;
    for path in ["/", "/vms", "/vms/web-1", "/hosts", "/hosts/b0", "/images", "/activity"] {
        let (status, headers, text) = page(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        assert_eq!(text, first, "{path}");
    }
    for word in ["<script>", "<style", "style=", "javascript:", "onload", "http://", "https://"] {
        assert!(!first.contains(word), "the page has {word}");
    }
}

#[tokio::test]
async fn a_page_runs_no_script_but_ours_and_is_in_no_frame() {
    for path in ["/", "/icon.svg", "/nothing"] {
        let (_, headers, _) = page(path).await;
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|one| one == part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
    }
}

#[tokio::test]
async fn what_the_document_names_is_there_and_small_enough() {
    let (_, _, document) = page("/").await;
    let mut bytes = FILES["index.html"].gzipped_len();
    let mut assets = 0;
    for path in named(&document) {
        let (status, headers, _) = page(&path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        if path.starts_with("/assets/") {
            let caching = headers[header::CACHE_CONTROL].to_str().expect("text");
            assert!(caching.contains("immutable"), "{path}: {caching}");
            assets += 1;
        }
        bytes += FILES[path.trim_start_matches('/')].gzipped_len();
    }
    assert!(assets >= 2, "a script and a style: {document}");
    assert!(bytes <= MOST_FIRST_BYTES, "the first page is {bytes} bytes, compressed");
}

#[tokio::test]
async fn a_file_is_compressed_for_who_takes_that_and_told_once() {
    let plain = ask("/", &[]).await;
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    let etag = plain.headers()[header::ETAG].to_str().expect("text").to_owned();
    let plain = bytes(plain).await;

    let packed = ask("/", &[(header::ACCEPT_ENCODING, "br, gzip;q=0.8")]).await;
    assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
    let packed = bytes(packed).await;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);

    let refused = ask("/", &[(header::ACCEPT_ENCODING, "gzip;q=0")]).await;
    assert!(!refused.headers().contains_key(header::CONTENT_ENCODING));

    let again = ask("/", &[(header::IF_NONE_MATCH, &etag)]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(bytes(again).await.is_empty());
    let other = ask("/", &[(header::IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_that_is_not_there_says_where_the_api_is() {
    for path in ["/banger.v1.VmService/ListVms", "/assets/nothing.js", "/assets/../index.html"] {
        let (status, headers, text) = page(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(text.contains("gRPC"), "{text}");
        assert!(headers.contains_key(header::CONTENT_SECURITY_POLICY));
    }
}
