//! Firecracker's HTTP: one request after another on a Unix connection that stays open.
//!
//! Driven by [`super::serve`]. The form of the answers is the real one's to the byte (a status line
//! without a reason phrase, `Server: Firecracker API`), because an HTTP client that stumbles over
//! that form must stumble here too.

use std::fmt;
use std::io::{self, Read, Write};

/// The methods the real one knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its absolute path.
    pub path: String,
    /// Its body, where it has one.
    pub body: Option<Vec<u8>>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, 204, 400, 413 or 503.
    pub status: u16,
    /// JSON.
    pub body: Option<String>,
    /// Whether the request used something deprecated.
    pub deprecated: bool,
}

impl Response {
    /// Done, nothing to say.
    pub const fn no_content() -> Self {
        Self { status: 204, body: None, deprecated: false }
    }

    /// Done, and this is what was asked for.
    pub fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, body: Some(value.to_string()), deprecated: false }
    }

    /// Refused, in the real one's form.
    pub fn fault(status: u16, message: &str) -> Self {
        let body = serde_json::json!({ "fault_message": message });
        Self { status, body: Some(body.to_string()), deprecated: false }
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!(
            "HTTP/1.1 {} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n",
            self.status
        );
        if self.deprecated {
            text.push_str("Deprecation: true\r\n");
        }
        if let Some(body) = &self.body {
            let length = body.len();
            text.push_str("Content-Type: application/json\r\n");
            text.push_str(&format!("Content-Length: {length}\r\n\r\n{body}"));
        } else {
            text.push_str("\r\n");
        }
        to.write_all(text.as_bytes())?;
        to.flush()
    }
}

/// Why no request came.
#[derive(Debug)]
pub enum NoRequest {
    /// The other side closed, or the connection broke.
    Closed,
    /// It was no acceptable HTTP: send this and close.
    Bad(Response),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

const HEAD_LIMIT: usize = 8192;

/// Reads the next request; `kept` carries bytes that came early from call to call.
///
/// # Errors
///
/// See [`NoRequest`].
pub fn read_request(
    stream: &mut (impl Read + Write),
    kept: &mut Vec<u8>,
    body_limit: usize,
) -> Result<Request, NoRequest> {
    let head_end = loop {
        if let Some(at) = kept.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if kept.len() > HEAD_LIMIT {
            return Err(bad("Overflow occurred when parsing a request."));
        }
        receive(stream, kept)?;
    };
    let head = String::from_utf8_lossy(&kept[..head_end]).into_owned();
    kept.drain(..head_end + 4);

    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let parts: Vec<&str> = first.split(' ').collect();
    let [method, path, version] = parts[..] else { return Err(bad("Invalid request.")) };
    let method = match method {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        other => return Err(bad(&format!("Invalid HTTP Method: {other}"))),
    };
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return Err(bad("Invalid HTTP Version: Unsupported HTTP version."));
    }
    if !path.starts_with('/') {
        return Err(bad("Invalid URI: Invalid URI"));
    }

    let mut length = 0;
    for line in lines {
        let Some((key, value)) = line.split_once(':') else {
            let sentence = format!("Header is incorrectly formatted. Key: {line}");
            return Err(bad(&format!("Invalid header. Reason: {sentence}")));
        };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "content-length" => match value.parse::<usize>() {
                Ok(given) => length = given,
                Err(_) => {
                    let sentence = format!("Invalid value. Key:Content-Length; Value:{value}");
                    return Err(bad(&format!("Invalid header. Reason: {sentence}")));
                }
            },
            "transfer-encoding" => {
                let sentence = format!("Invalid value. Key:Transfer-Encoding; Value:{value}");
                return Err(bad(&format!("Invalid header. Reason: {sentence}")));
            }
            "expect" if value == "100-continue" => {
                stream.write_all(b"HTTP/1.1 100 \r\nServer: Firecracker API\r\n\r\n")?;
            }
            _ => {}
        }
    }
    if length > body_limit {
        let sentence = format!(
            "Request payload with size {length} is larger than the limit of {body_limit} allowed \
             by server."
        );
        return Err(bad(&sentence));
    }
    while kept.len() < length {
        receive(stream, kept)?;
    }
    let body = (length > 0).then(|| kept.drain(..length).collect());
    Ok(Request { method, path: path.to_owned(), body })
}

fn receive(stream: &mut impl Read, kept: &mut Vec<u8>) -> Result<(), NoRequest> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece)? {
        0 => Err(NoRequest::Closed),
        length => {
            kept.extend_from_slice(&piece[..length]);
            Ok(())
        }
    }
}

fn bad(sentence: &str) -> NoRequest {
    // This body is the HTTP library's in the real one, and differs from a refusal by the VMM.
    let body = serde_json::json!({ "error": format!("{sentence}\nAll previous unanswered requests will be dropped.") });
    NoRequest::Bad(Response { status: 400, body: Some(body.to_string()), deprecated: false })
}

#[cfg(test)]
mod tests;
