use super::*;

#[test]
fn an_etag_differs_between_generations_and_between_things() {
    let tags =
        [etag(b"vm", "a", 1), etag(b"vm", "a", 2), etag(b"vm", "b", 1), etag(b"host", "a", 1)];
    for (index, tag) in tags.iter().enumerate() {
        assert!(!tags[index + 1..].contains(tag));
    }
}
