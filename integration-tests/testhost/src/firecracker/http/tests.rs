use std::io::Cursor;

use super::*;

struct Pipe {
    from: Cursor<Vec<u8>>,
    to: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // A few bytes at a time, so that every boundary falls inside something.
        let length = into.len().min(7);
        self.from.read(&mut into[..length])
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pipe(text: &str) -> Pipe {
    Pipe { from: Cursor::new(text.as_bytes().to_vec()), to: Vec::new() }
}

fn refused(text: &str) -> String {
    match read_request(&mut pipe(text), &mut Vec::new(), 10) {
        Err(NoRequest::Bad(answer)) => answer.body.expect("a sentence"),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn requests_on_one_connection_are_read_one_by_one() {
    let mut pipe = pipe(concat!(
        "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{\"\"}",
        "GET /b HTTP/1.1\r\n\r\n"
    ));
    let mut kept = Vec::new();
    let first = read_request(&mut pipe, &mut kept, 10).expect("first");
    assert_eq!(
        first,
        Request { method: Method::Put, path: "/a".to_owned(), body: Some(b"{\"\"}".to_vec()) }
    );
    let second = read_request(&mut pipe, &mut kept, 10).expect("second");
    assert_eq!(second, Request { method: Method::Get, path: "/b".to_owned(), body: None });
    assert!(matches!(read_request(&mut pipe, &mut kept, 10), Err(NoRequest::Closed)));
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let mut pipe = pipe("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    read_request(&mut pipe, &mut Vec::new(), 10).expect("read");
    assert!(pipe.to.starts_with(b"HTTP/1.1 100 \r\n"));
}

#[test]
fn chunks_unknown_methods_and_long_bodies_are_refused() {
    assert!(refused("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").contains("chunked"));
    assert!(refused("POST / HTTP/1.1\r\n\r\n").contains("Invalid HTTP Method"));
    assert!(refused("GET / HTTP/2\r\n\r\n").contains("Invalid HTTP Version"));
    assert!(
        refused("PUT / HTTP/1.1\r\nContent-Length: 11\r\n\r\n").contains("larger than the limit")
    );
}

#[test]
fn answers_have_the_form_of_the_real_one() {
    let mut bytes = Vec::new();
    Response::no_content().write(&mut bytes).expect("memory");
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"
    );
    bytes.clear();
    Response::fault(400, "no").write(&mut bytes).expect("memory");
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        "HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"fault_message\":\"no\"}"
    );
}
